"""Trainings of transformers' `Trainer` that save themselves.

In a training, one line::

    from modelkeep.integrations.transformers import ModelkeepCallback

    trainer = Trainer(..., callbacks=[ModelkeepCallback(model="banking-v3")])

and to go on after a lost session::

    from modelkeep.integrations.transformers import last_checkpoint

    trainer.train(resume_from_checkpoint=last_checkpoint("banking-v3", "output"))
"""

from __future__ import annotations

import hashlib
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback

from .._bridge import Bridge, Credentials
from ..drive_manager import store_of
from ..errors import ModelkeepWarning, UsageError
from ..progress import OnProgress
from ..results import Checkpoint, ModelDetails, PullResult, PushResult
from ._saving import FLUSH, STATE, Saver, newest_stored, step_of
from ._unsent import alone

if TYPE_CHECKING:
    from transformers import Trainer, TrainerControl, TrainerState, TrainingArguments


class ModelkeepCallback(TrainerCallback):  # type: ignore[misc]
    """Stores each checkpoint of a training as soon as it is written, and the model at the end.

    Checkpoints are stored in the background, in order, each as a revision of the model that has the name of its
    directory as label (``banking-v3@checkpoint-500``); the log of the training is written beside. The end of training
    waits until all of it, and the final model with its metrics, is stored. A training that is killed loses the steps
    since its last finished checkpoint, and no more: what was finished and not yet stored is stored by the next
    training in the same output directory, or by `last_checkpoint`; unless something later of the model is stored by then.

    Which store is meant is found as `GoogleDriveManager` finds it. A training that cannot be stored (no store, no
    access, a deployed model) fails when it begins, not hours later.

    Parameters
    ----------
    model : str
        The model's id, such as ``banking-v3``.
    remote : str or path-like, optional
        A store.
    workspace : str or path-like, optional
        The folder with ``modelkeep.toml``.
    simulate : bool, default False
        Use the simulation.
    credentials : callable, optional
        Gives an access token for Drive, and is called again whenever the last one has ended; in the background too.
    keep_last : int, optional
        Checkpoints that stay on the store, beside the best one, at least 1; as many as ``save_total_limit`` says
        otherwise, and all when it says nothing.
    optimizer : bool, default True
        Store the state of the optimizer too, without which a training can go on only roughly.
    final : bool, default True
        Store the model at the end.
    base : str, optional
        The base model, over what the adapter says.
    purpose : str, optional
        What the model is for.
    note : str, optional
        A note on the final model.
    log_every : float, default 30.0
        Seconds between two writes of the log, at least.
    progress : callable or bool, optional
        How the end of training shows that it waits; as for `GoogleDriveManager`.

    Attributes
    ----------
    stored : list of Checkpoint
        What became of each checkpoint so far.
    result : PushResult or None
        What became of the final model.

    Raises
    ------
    UsageError
        For a number of checkpoints that cannot stay.
    """

    def __init__(
        self,
        model: str,
        *,
        remote: str | os.PathLike[str] | None = None,
        workspace: str | os.PathLike[str] | None = None,
        simulate: bool = False,
        credentials: Credentials | None = None,
        keep_last: int | None = None,
        optimizer: bool = True,
        final: bool = True,
        base: str | None = None,
        purpose: str | None = None,
        note: str | None = None,
        log_every: float = 30.0,
        progress: OnProgress | bool | None = None,
    ) -> None:
        if keep_last is not None and keep_last < 1:
            hint = "keep_last=1 keeps that and the best one; without keep_last as many stay as save_total_limit says"
            raise UsageError(f"{keep_last} checkpoints cannot stay on the store: the newest always does", hint=hint)
        remote = store_of(remote, simulate)
        self.model = model
        self.result: PushResult | None = None
        # What is to be said of one checkpoint is to be said of all.
        warned: set[str] = set()
        self._quiet, self._shown = (
            Bridge(workspace, remote, notebook=True, progress=shown, credentials=credentials, warned=warned)
            for shown in (False, progress)
        )
        self._keep_last, self._optimizer, self._final = keep_last, optimizer, final
        self._said = {"base": base, "purpose": purpose}
        self._note, self._log_every = note, log_every
        self._saver: Saver | None = None
        self._said_of_search = False

    @property
    def stored(self) -> list[Checkpoint]:
        return [] if self._saver is None else self._saver.stored

    def wait(self) -> None:
        """Waits until every checkpoint so far is stored.

        Raises
        ------
        Error
            When one could not be stored, and no later one was.
        """
        if self._saver is not None:
            self._saver.wait()

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Fails when the training could not be stored; else begins to store it."""
        if not state.is_world_process_zero:
            return
        # Whoever trains again in the same process may have stopped the training before.
        if self._saver is not None:
            self._saver.close()
        self._quiet.call("training", {"model": self.model})
        # To the Trainer no limit and one below 1 are the same.
        limit = args.save_total_limit if (args.save_total_limit or 0) > 0 else None
        keep = self._keep_last if self._keep_last is not None else limit
        options = {"keep_last": keep, "optimizer": self._optimizer, **self._said}
        self.result = None
        output = Path(args.output_dir)
        self._saver = Saver(self._quiet, self.model, output, options, self._log_every, shown=self._shown)
        with alone(output):
            self._saver.start()

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Hands the checkpoint in that was just written."""
        if self._saver is None:
            return
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        if folder.is_dir():
            self._saver.checkpoint(folder)
        elif getattr(state, "is_hyper_param_search", False) and not self._said_of_search:
            # Those of all trials have the same names.
            self._said_of_search = True
            why = "the checkpoints of a hyperparameter search are not stored; train once more with what it found"
            warnings.warn(why, ModelkeepWarning, stacklevel=2)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Hands in what was logged."""
        if self._saver is not None and logs:
            self._saver.entry({"step": state.global_step, "epoch": state.epoch, **logs})

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Stores the model itself, and waits for all that is under way."""
        saver = self._saver
        if saver is None:
            return
        model, processing = kwargs.get("model"), kwargs.get("processing_class")
        if self._final and can_be_saved(args, model):
            # Written first: whatever fails from here on, it is there.
            saver.final(
                lambda folder: save_final(folder, state, model, processing), {"note": self._note, **self._said}
            )
        try:
            saver.close()
        finally:
            self.result = saver.result
            if saver.aside:
                kept = ", ".join(map(os.fspath, saver.aside))
                warnings.warn(
                    f"not stored, since something later of {self.model} is: {kept}", ModelkeepWarning, stacklevel=2
                )
            if saver.unconfirmed:
                warnings.warn(
                    f"{self.model} was written through a mount, and the store has not acknowledged it yet; {FLUSH}",
                    ModelkeepWarning,
                    stacklevel=2,
                )


def can_be_saved(args: TrainingArguments, model: Any) -> bool:
    """Whether a trained model can save itself here; one that cannot is left to its last checkpoint, with a warning.

    Parameters
    ----------
    args : TrainingArguments
        The training's arguments.
    model : object
        The model.

    Returns
    -------
    bool
        Whether it can.
    """
    spread = bool(getattr(args, "deepspeed", None) or getattr(args, "fsdp", None))
    if not spread and hasattr(model, "save_pretrained"):
        return True
    why = "its weights are spread over several processes" if spread else "it has no save_pretrained"
    warnings.warn(f"the final model is not stored, for {why}; its last checkpoint is", ModelkeepWarning, stacklevel=3)
    return False


def save_final(folder: Path, state: TrainerState, model: Any, processing: Any) -> None:
    """Saves the trained model as transformers does, with the state that holds its metrics.

    Parameters
    ----------
    folder : Path
        Where to.
    state : TrainerState
        The training's state.
    model : object
        The model.
    processing : object
        The tokenizer or processor, if there is one.
    """
    folder.mkdir(parents=True)
    model.save_pretrained(folder)
    if hasattr(processing, "save_pretrained"):
        processing.save_pretrained(folder)
    state.save_to_json(os.fspath(folder / STATE))


def autosave(trainer: Trainer, model: str, **options: Any) -> ModelkeepCallback:
    """Makes a `Trainer` that exists already save itself: ``autosave(trainer, "banking-v3")``.

    Parameters
    ----------
    trainer : Trainer
        The trainer.
    model : str
        The model's id.
    **options
        As for `ModelkeepCallback`.

    Returns
    -------
    ModelkeepCallback
        The callback, which the trainer has now.
    """
    callback = ModelkeepCallback(model, **options)
    trainer.add_callback(callback)
    return callback


def last_checkpoint(
    model: str,
    output_dir: str | os.PathLike[str] = "output",
    *,
    remote: str | os.PathLike[str] | None = None,
    workspace: str | os.PathLike[str] | None = None,
    simulate: bool = False,
    credentials: Credentials | None = None,
    optimizer: bool = True,
    progress: OnProgress | bool | None = None,
) -> str | None:
    """The checkpoint to go on from: ``trainer.train(resume_from_checkpoint=last_checkpoint("banking-v3", "output"))``.

    What a killed training left in `output_dir` is stored first, unless something later of the model is stored by now; so
    give each model a directory of its own. The newest checkpoint that is on the store is brought there when it is not
    there any more.

    Where several processes train together, the first of them looks, and the others find what it brought::

        with arguments.main_process_first():
            resume = last_checkpoint("banking-v3", "output")

    Parameters
    ----------
    model : str
        The model's id.
    output_dir : str or path-like, default 'output'
        The training's output directory.
    remote, workspace, simulate, credentials, progress
        As for `GoogleDriveManager`.
    optimizer : bool, default True
        Store the state of the optimizer too, as for `ModelkeepCallback`.

    Returns
    -------
    str or None
        Its directory; None when there is no checkpoint yet, so that a training begins anew.
    """
    bridge = Bridge(
        workspace, store_of(remote, simulate), notebook=True, progress=progress, credentials=credentials
    )
    output = Path(output_dir)
    bridge.call("training", {"model": model})
    with alone(output):
        saver = Saver(bridge, model, output, {"optimizer": optimizer}, 0.0)
        if saver.unsent.is_dir():
            saver.start()
            saver.close()
        newest = newest_stored(bridge, model)
        names = [path.name for path in output.iterdir()] if output.is_dir() else []
        here = [step for name in names if (step := step_of(name)) is not None]
        if here and (newest is None or max(here) > newest.step):
            after = None if newest is None else newest.step
            asked = {"dir": output, "model": model, "interval": 0.2, "after": after, "optimizer": optimizer}
            bridge.call("watch", asked)
            newest = newest_stored(bridge, model)
        if newest is None:
            return None
        folder, revision = output / newest.checkpoint, f"{model}@{newest.checkpoint}"
        if is_whole(folder, ModelDetails.of(bridge.call("show", {"model": revision}))):
            return os.fspath(folder)
        # What is there is what a killed training, or one that tidied up, left of it; or it is of another training.
        return PullResult.of(bridge.call("pull", {"model": revision, "to": folder, "force": True})).path


def is_whole(folder: Path, stored: ModelDetails) -> bool:
    """Whether a checkpoint that is stored is here too.

    Parameters
    ----------
    folder : Path
        Where it would be.
    stored : ModelDetails
        What is stored.

    Returns
    -------
    bool
        Whether each of its files is there, byte for byte: another training's may have the same name and size.
    """
    try:
        sizes = all((folder / file.path).stat().st_size == file.size_bytes for file in stored.files)
        return sizes and all(sha256_of(folder / file.path) == file.sha256 for file in stored.files)
    except OSError:
        return False


def sha256_of(path: Path) -> str:
    """The digest of a file.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    str
        As `FileItem.sha256` has it.

    Raises
    ------
    OSError
        When it cannot be read.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
