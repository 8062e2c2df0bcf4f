"""Trainings of transformers' `Trainer` that save themselves.

In a training, one line::

    from modelkeep.integrations.transformers import ModelkeepCallback

    trainer = Trainer(..., callbacks=[ModelkeepCallback(model="banking-v3")])

and to go on after a lost session::

    from modelkeep.integrations.transformers import last_checkpoint

    trainer.train(resume_from_checkpoint=last_checkpoint("banking-v3", "output"))
"""

from __future__ import annotations

import os
import shutil
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback

from .._bridge import Bridge, Credentials
from ..drive_manager import store_of
from ..errors import ModelkeepWarning
from ..progress import OnProgress
from ..results import Checkpoint, CheckpointItem, CheckpointList, ModelDetails, PullResult, PushResult
from ._saving import Saver, step_of

if TYPE_CHECKING:
    from transformers import Trainer, TrainerControl, TrainerState, TrainingArguments

FINAL = "final"


class ModelkeepCallback(TrainerCallback):  # type: ignore[misc]
    """Stores each checkpoint of a training as soon as it is written, and the model at the end.

    Checkpoints are stored in the background, in order, each as a revision of the model that has the name of its
    directory as label (``banking-v3@checkpoint-500``); the log of the training is written beside. The end of training
    waits until all of it, and the final model with its metrics, is stored. A training that is killed loses the steps
    since its last finished checkpoint, and no more: what was finished and not yet stored is stored by the next
    training in the same output directory, or by `last_checkpoint`.

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
        Checkpoints that stay on the store, beside the best one; as many as ``save_total_limit`` says otherwise, and all
        when it says nothing.
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

    @property
    def stored(self) -> list[Checkpoint]:
        return [] if self._saver is None else self._saver.stored

    def wait(self) -> None:
        """Waits until every checkpoint so far is stored.

        Raises
        ------
        Error
            When one could not be stored.
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
        keep = self._keep_last if self._keep_last is not None else args.save_total_limit
        options = {"keep_last": keep, "optimizer": self._optimizer, **self._said}
        self.result = None
        self._saver = Saver(self._quiet, self.model, Path(args.output_dir), options, self._log_every)
        self._saver.start()

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Hands the checkpoint in that was just written."""
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        if self._saver is not None and folder.is_dir():
            self._saver.checkpoint(folder)

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
        """Waits for what is under way, then stores the model itself."""
        if self._saver is None:
            return
        self._saver.wait()
        if self._final:
            folder = self._saver.unsent / FINAL
            shutil.rmtree(folder, ignore_errors=True)
            if save_final(folder, args, state, kwargs.get("model"), kwargs.get("processing_class")):
                request = {"path": folder, "model": self.model, "note": self._note, **self._said}
                self.result = PushResult.of(self._shown.call("push", request))
                shutil.rmtree(folder, ignore_errors=True)
                if not (self.result.confirmed or self.result.simulated):
                    self._unconfirmed()
        self._saver.close()

    def _unconfirmed(self) -> None:
        warnings.warn(
            f"{self.model} was written through a mount, and the store has not acknowledged it yet; before the machine "
            "ends: from google.colab import drive; drive.flush_and_unmount()",
            ModelkeepWarning,
            stacklevel=3,
        )


def save_final(folder: Path, args: TrainingArguments, state: TrainerState, model: Any, processing: Any) -> bool:
    """Saves the trained model as transformers does, with the state that holds its metrics.

    Parameters
    ----------
    folder : Path
        Where to.
    args : TrainingArguments
        The training's arguments.
    state : TrainerState
        The training's state.
    model : object
        The model; one that cannot save itself is left to its last checkpoint, with a warning.
    processing : object
        The tokenizer or processor, if there is one.

    Returns
    -------
    bool
        Whether it was saved.
    """
    spread = bool(getattr(args, "deepspeed", None) or getattr(args, "fsdp", None))
    if spread or not hasattr(model, "save_pretrained"):
        why = "its weights are spread over several processes" if spread else "it has no save_pretrained"
        warnings.warn(f"the final model is not stored, for {why}; its last checkpoint is", ModelkeepWarning, stacklevel=3)
        return False
    folder.mkdir(parents=True)
    model.save_pretrained(folder)
    if hasattr(processing, "save_pretrained"):
        processing.save_pretrained(folder)
    state.save_to_json(os.fspath(folder / "trainer_state.json"))
    return True


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

    What a killed training left in `output_dir` is stored first; so give each model a directory of its own. The newest
    checkpoint that is on the store is brought there when it is not there any more.

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
    newest = newest_stored(bridge, model)
    saver = Saver(bridge, model, output, {"optimizer": optimizer}, 0.0)
    if saver.unsent.is_dir():
        saver.start()
        saver.close()
        newest = newest_stored(bridge, model)
    here = [step for path in (output.iterdir() if output.is_dir() else ()) if (step := step_of(path.name)) is not None]
    if here and (newest is None or max(here) > newest.step):
        after = None if newest is None else newest.step
        bridge.call("watch", {"dir": output, "model": model, "interval": 0.2, "after": after, "optimizer": optimizer})
        newest = newest_stored(bridge, model)
    if newest is None:
        return None
    folder, revision = output / newest.checkpoint, f"{model}@{newest.checkpoint}"
    if is_whole(folder, ModelDetails.of(bridge.call("show", {"model": revision}))):
        return os.fspath(folder)
    # What is there is what a killed training, or one that tidied up, left of it.
    return PullResult.of(bridge.call("pull", {"model": revision, "to": folder, "force": True})).path


def newest_stored(bridge: Bridge, model: str) -> CheckpointItem | None:
    """The checkpoint of the Trainer that was stored last.

    Parameters
    ----------
    bridge : Bridge
        The store.
    model : str
        The model's id.

    Returns
    -------
    CheckpointItem or None
        None when there is none.
    """
    stored = CheckpointList(bridge.call("training", {"model": model}))
    return next((item for item in reversed(stored) if step_of(item.checkpoint) is not None), None)


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
        Whether each of its files is there, in its size.
    """
    try:
        return all((folder / file.path).stat().st_size == file.size_bytes for file in stored.files)
    except OSError:
        return False
