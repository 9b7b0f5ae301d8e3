"""A recording's folder: the documents in it, and what is judged by them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from detectors.errors import BadInput
from detectors.policy import Policy
from holdfast.documents import load_policy, load_rollout, load_truth
from holdfast.setting import setting_of
from rollouts.document import Rollout
from rollouts.truth import Truth
from streams.replay import Setting

Show = Callable[[str, int, int], None]
"""Is told what is being done, and how much of how much of it."""


def require_folder(path: Path) -> None:
    """Refuse a recording that is no folder."""
    if not path.is_dir():
        msg = f"{path}: no such folder; a recording is a folder with metrics.parquet, rollout.yaml and policy.yaml"
        raise BadInput(msg)


def load_documents(
    path: Path, policy_path: Path | None, check: bool, policy: Policy | None = None
) -> tuple[dict[Path, Rollout], Policy, Truth | None]:
    """Load the documents, but for a policy that is given, and report the errors of all of them at once."""
    problems: list[str] = []

    def load(loader: Callable[[Path], Any], file: Path) -> Any:
        try:
            return loader(file)
        except BadInput as error:
            problems.append(str(error))

    files = [path / "rollout.yaml", *sorted((path / "rollouts").glob("*.yaml"))]
    rollouts = {file: load(load_rollout, file) for file in files}
    judged_by: Policy = policy or load(load_policy, policy_path or path / "policy.yaml")
    truth = load(load_truth, path / "truth.yaml") if check else None
    named: dict[str, Path] = {}
    for file, rollout in rollouts.items():
        if rollout is not None and (same := named.setdefault(rollout.rollout, file)) != file:
            problems.append(
                f"{file}: rollout: found {rollout.rollout!r}, the name of the rollout in {same} too; "
                "allowed: each name once in a recording"
            )
    if problems:
        raise BadInput("\n".join(problems))
    return rollouts, judged_by, truth


def chosen(path: Path, rollouts: dict[Path, Rollout], name: str | None, check: bool) -> Path:
    """Return the file of the rollout that is to be judged."""
    first = path / "rollout.yaml"
    if name is None:
        return first
    for file, rollout in rollouts.items():
        if rollout.rollout == name:
            if check and file != first:
                msg = (
                    f"{path / 'truth.yaml'}: is about the rollout {rollouts[first].rollout!r}; --check judges no other"
                )
                raise BadInput(msg)
            return file
    names = ", ".join(rollout.rollout for rollout in rollouts.values())
    msg = f"{path}: --rollout: no rollout {name!r} was under way in this recording; allowed: {names}"
    raise BadInput(msg)


def load_setting(path: Path) -> Setting:
    """Load what a recording folder is judged by, without judging it."""
    rollouts, policy, _ = load_documents(path, None, check=False)
    return setting_of(path / "rollout.yaml", rollouts, path / "policy.yaml", policy)
