"""Suggestions for names that are not known: the words of other libraries, and misspellings."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from . import _core
from .errors import UsageError

#: The words of other libraries, and ours.
SYNONYMS = {
    "act": "activation",
    "activation_function": "activation",
    "adam_betas": "betas",
    "algorithm": "rule",
    "alpha": "lr",
    "backend": "device",
    "batchsize": "batch",
    "batch_size": "batch",
    "biases": "bias",
    "callbacks": "callback",
    "criterion": "loss",
    "dt": "gamma",
    "early_stopping": "patience",
    "eta": "lr",
    "freeze_layers": "freeze",
    "frozen": "freeze",
    "hidden_layer_sizes": "layers",
    "hidden_layers": "layers",
    "inference_lr": "gamma",
    "inference_steps": "steps",
    "initialization": "init",
    "l2": "weight_decay",
    "learning_rate": "lr",
    "learning_rate_init": "lr",
    "learning_rule": "rule",
    "loss_fn": "loss",
    "loss_function": "loss",
    "lr_scheduler": "lr_schedule",
    "max_iter": "epochs",
    "minibatch": "batch",
    "n_epochs": "epochs",
    "n_iter_no_change": "patience",
    "n_jobs": "threads",
    "nonlinearity": "activation",
    "num_epochs": "epochs",
    "num_threads": "threads",
    "optim": "optimizer",
    "optimiser": "optimizer",
    "progress_bar": "progress",
    "random_seed": "seed",
    "random_state": "seed",
    "scheduler": "lr_schedule",
    "sizes": "layers",
    "solver": "optimizer",
    "t": "steps",
    "use_bias": "bias",
    "val_data": "validation",
    "validation_data": "validation",
    "warmup_steps": "warmup",
    "wd": "weight_decay",
}
#: The arguments of Network that are not options of the training.
CREATION = ("layers", "rule", "device", "seed", "threads", "batch", "preset")
#: The arguments of Network.fit that have a name.
FIT = ("epochs", "batch", "callback", "validation", "shuffle", "patience", "epoch_updates", "verbose", "progress")


def suggestion(name: str, known: Iterable[str]) -> str | None:
    """The known name that is meant by another library's word or by a misspelling."""
    known = list(known)
    word = name.lower().replace("-", "_")
    meant = word if word in known else SYNONYMS.get(word)
    if meant in known:
        return meant
    near = difflib.get_close_matches(word, [*known, *SYNONYMS], n=1, cutoff=0.75)
    meant = SYNONYMS.get(near[0], near[0]) if near else None
    return meant if meant in known else None


def check_options(given: Iterable[str], own: Iterable[str] = ()) -> None:
    """Refuses option names of a network that nothing knows. ``own`` are the options of a custom rule."""
    known = [*CREATION, *_core.option_names(), *own]
    for name in given:
        if name in known:
            continue
        meant = suggestion(name, known)
        elsewhere = suggestion(name, FIT)
        if meant is None and elsewhere is not None:
            raise UsageError(f"{name!r} is not an option of a network; {elsewhere} is an argument of fit: network.fit(x, y, {elsewhere}=…)")
        end = f"; did you mean {meant}?" if meant else ". help(zilch_pc.Network) lists the options"
        raise UsageError(f"there is no option {name!r}{end}")


def check_fit(given: Iterable[str]) -> None:
    """Refuses arguments of fit that it does not have."""
    for name in given:
        meant = suggestion(name, FIT)
        if meant is not None:
            raise UsageError(f"fit has no argument {name!r}; did you mean {meant}?")
        option = suggestion(name, [*CREATION, *_core.option_names()])
        if option is not None:
            raise UsageError(f"fit has no argument {name!r}; {option} belongs to the network: Network(…, {option}=…)")
        raise UsageError(f"fit has no argument {name!r}; its arguments are x, y, {', '.join(FIT)}")
