"""Keras 3 on JAX."""

import os

os.environ["KERAS_BACKEND"] = "jax"
import keras
from case import case, timed

given = case()
x, y, x_val, y_val = given.arrays()
channels, height, width = x.shape[1:]
layers = keras.layers
if given.model == "mlp":
    body = [layers.Flatten(), layers.Dense(100, activation="relu"), layers.Dense(100, activation="relu")]
else:
    x, x_val = x.transpose(0, 2, 3, 1), x_val.transpose(0, 2, 3, 1)
    body = []
    for _ in range(2):
        body += [layers.Conv2D(16, 3, padding="same", use_bias=False), layers.BatchNormalization()]
        body += [layers.MaxPooling2D(), layers.ReLU()]
    body += [layers.Flatten(), layers.Dropout(0.3), layers.Dense(128, activation="relu"), layers.Dropout(0.3)]
model = keras.Sequential([keras.Input(x.shape[1:]), *body, layers.Dense(10)])
model.compile(
    keras.optimizers.Adam(given.learning_rate),
    keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    metrics=["accuracy"],
)


def epoch() -> None:
    model.fit(x, y, batch_size=given.batch_size, validation_data=(x_val, y_val), verbose=0)


timed(given.epochs, epoch)
