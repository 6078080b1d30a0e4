import pytorch_lightning as pl

from litmus.trainer import skip_empty_hooks


class Counter(pl.Callback):
    def on_train_batch_end(self, *args):
        pass


def test_hooks_that_do_nothing_are_not_called_at_every_step_and_others_are():
    callback = Counter()
    skip_empty_hooks([callback])
    assert callback.on_train_batch_start is None
    assert callback.on_before_optimizer_step is None
    assert callable(callback.on_train_batch_end)
    assert callable(callback.on_train_epoch_end)
