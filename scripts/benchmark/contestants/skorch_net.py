"""skorch's NeuralNetClassifier."""

import torch
from case import case, report
from networks import network
from skorch import NeuralNetClassifier
from skorch.helper import predefined_split
from torch import nn
from torch.utils.data import TensorDataset

given = case()
x, y, x_val, y_val = (torch.from_numpy(array) for array in given.arrays())
net = NeuralNetClassifier(
    network(given.model, tuple(x.shape[1:])),
    criterion=nn.CrossEntropyLoss,
    optimizer=torch.optim.Adam,
    lr=given.learning_rate,
    batch_size=given.batch_size,
    iterator_train__shuffle=True,
    max_epochs=given.epochs,
    train_split=predefined_split(TensorDataset(x_val, y_val)),
    verbose=0,
)
net.fit(TensorDataset(x, y), y=None)
report(net.history[:, "dur"])
