"""scikit-learn's MLPClassifier, an epoch at a time."""

from case import case, timed
from sklearn.neural_network import MLPClassifier

given = case()
x, y, x_val, y_val = given.arrays()
x, x_val = x.reshape(len(x), -1), x_val.reshape(len(x_val), -1)
model = MLPClassifier((100, 100), batch_size=given.batch_size, learning_rate_init=given.learning_rate, alpha=0.0)


def epoch() -> None:
    model.partial_fit(x, y, classes=range(10))
    model.score(x_val, y_val)


timed(given.epochs, epoch)
