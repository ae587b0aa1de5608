"""The command line: one function a verb."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lucida import __version__
from lucida.arguments import apart, number, override, seconds, take
from lucida.core.errors import LucidaError
from lucida.usage import (
    ASK_USAGE,
    AUDIT_USAGE,
    COMPARE_USAGE,
    DATA_USAGE,
    DIAGNOSE_USAGE,
    EVALUATE_USAGE,
    EXPORT_USAGE,
    LAB_USAGE,
    USAGE,
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; bad input ends with one line on the error stream and exit code 2."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    given = [word for word in given if word != "--debug"]
    try:
        _dispatch(given)
        sys.stdout.flush()
    except LucidaError as error:
        if debug:
            raise
        print(f"lucida: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("lucida: stopped; the same command goes on from the last checkpoint", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # who reads has read enough, as in `lucida run --help | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def _dispatch(given: list[str]) -> None:
    if not given or given[0] in ("-h", "--help"):
        print(USAGE, end="")
    elif given[0] in ("-V", "--version"):
        print(f"lucida {__version__}")
    elif given[0] in _VERBS:
        _VERBS[given[0]](given[1:])
    else:
        raise LucidaError(f"unknown command {given[0]!r}", remedy="lucida --help lists the commands")


def _run(given: list[str]) -> None:
    from lucida.workflows import recipes
    from lucida.workflows.run import run

    name, rest = take(given, "--recipe", "default")
    before = f"--recipe NAME says where the settings below start: {', '.join(recipes.names())}."
    config = override(recipes.load(name), rest, command="lucida run", before=before)
    print(f"report: {run(config)}")


def _data(given: list[str]) -> None:
    if not given or given[0] in ("-h", "--help"):
        print(DATA_USAGE, end="")
    elif given[0] == "construct":
        from lucida.workflows.construct_data import ConstructConfig, construct_data

        print(f"report: {construct_data(override(ConstructConfig(), given[1:], command='lucida data construct'))}")
    elif given[0] == "inspect":
        if any(word in ("-h", "--help") for word in given):
            print(DATA_USAGE, end="")
            return
        if len(given) != 2:
            raise LucidaError(f"inspect needs one folder, not {len(given) - 1}", remedy="see lucida data --help")
        from lucida.workflows.inspect_data import inspect_data

        found = inspect_data(Path(given[1]))
        print(f"{found.text}\n\nreport: {found.report}")
    else:
        raise LucidaError(
            f"unknown command {given[0]!r}", where="lucida data", remedy="there are construct and inspect"
        )


def _train(given: list[str]) -> None:
    from lucida.training.distributed import leave_processes
    from lucida.workflows.tune_encoder import MODEL, as_text, defaults, tune_encoder

    model, rest = take(given, "--model", "")
    config = override(defaults(model), rest, command="lucida train")
    if text := as_text(tune_encoder(config)):
        print(f"{text}\n\nresults: {config.out / 'results.json'}\nmodel: {config.out / MODEL}")
    leave_processes()


def _adapt(given: list[str]) -> None:
    from lucida.workflows.adapt import AdaptConfig, adapt

    print(f"report: {adapt(override(AdaptConfig(), given, command='lucida adapt'))}")


def _audit(given: list[str]) -> None:
    from lucida.workflows.audit import AuditConfig, audit

    if not given or any(word in ("-h", "--help") for word in given):
        print(AUDIT_USAGE)
        override(AuditConfig(), ["--help"], command="lucida audit MODEL")
    names, options = apart(given, switches=("--help", "-h"))
    if len(names) != 1:
        raise LucidaError(f"audit needs one model, not {' '.join(names) or 'none'}", remedy="see lucida audit --help")
    print(f"report: {audit(names[0], override(AuditConfig(), options, command='lucida audit'))}")


def _compare(given: list[str]) -> None:
    if not given or any(word in ("-h", "--help") for word in given):
        print(COMPARE_USAGE, end="")
        return
    margin, rest = take(given, "--margin", "0.02")
    folders = [word for word in rest if word != "--json"]
    if len(folders) != 2 or any(word.startswith("-") for word in folders):
        raise LucidaError(f"compare needs two audits, not {' '.join(folders)}", remedy="see lucida compare --help")
    share = number(margin, "--margin")
    from lucida.workflows.compare import compare

    found = compare(Path(folders[0]), Path(folders[1]), margin=share)
    print(json.dumps(found.as_json(), indent=1) if "--json" in given else found.as_text())
    if found.regressions:
        sys.exit(1)


def _export(given: list[str]) -> None:
    if any(word in ("-h", "--help") for word in given):
        print(EXPORT_USAGE, end="")
        return
    layout, rest = take(given, "--format", "huggingface")
    base, rest = take(rest, "--base", "")
    share, names = take(rest, "--share", "1")
    if len(names) != 2 or any(name.startswith("-") for name in names):
        raise LucidaError(f"export needs a source and a folder, not {names}", remedy="see lucida export --help")
    from lucida.workflows.export import export
    from lucida.workflows.exported_encoders import layout_of

    options: Any = {"layout": layout_of(layout), "base": base or None, "share": number(share, "--share")}
    done = export(names[0], Path(names[1]), **options)
    print(f"{done}\nmodel: {done.folder}")


def _ask(given: list[str]) -> None:
    if any(word in ("-h", "--help") for word in given):
        print(ASK_USAGE, end="")
        return
    if len(given) != 3:
        raise LucidaError(f"ask needs a model, a picture and a question, not {len(given)} words", remedy="quote it")
    from lucida.workflows.ask import ask

    print(ask(given[0], Path(given[1]), given[2]))


def _evaluate(given: list[str]) -> None:
    known = {
        "long-tail": _evaluate_long_tail,
        "chats": _evaluate_chats,
        "pope": _evaluate_pope,
        "chair": _evaluate_chair,
        "remedies": _evaluate_remedies,
        "instructions": _evaluate_instructions,
        "zero-shot": _evaluate_zero_shot,
        "zero-shot-ablation": _evaluate_zero_shot_ablation,
    }
    if not given or given[0] in ("-h", "--help"):
        print(EVALUATE_USAGE, end="")
    elif given[0] in known:
        known[given[0]](given[1:])
    else:
        raise LucidaError(f"nothing to evaluate is called {given[0]!r}", remedy=f"there are {', '.join(known)}")


def _evaluate_chats(given: list[str]) -> None:
    from lucida.workflows.evaluate_chats import EvaluateChatsConfig, evaluate_chats

    print(f"report: {evaluate_chats(override(EvaluateChatsConfig(), given, command='lucida evaluate chats'))}")


def _evaluate_long_tail(given: list[str]) -> None:
    from lucida.workflows.long_tail import LongTailConfig, evaluate_long_tail

    done = evaluate_long_tail(override(LongTailConfig(), given, command="lucida evaluate long-tail"))
    print(f"{done.table}\n\n{done.recommendation}\n\nreport: {done.report}")


def _evaluate_pope(given: list[str]) -> None:
    from lucida.workflows.evaluate_pope import EvaluatePopeConfig, as_json, as_text, evaluate_pope

    config = override(EvaluatePopeConfig(), given, command="lucida evaluate pope")
    found = evaluate_pope(config)
    print(json.dumps(as_json(found), indent=1) if config.json else as_text(found))


def _evaluate_chair(given: list[str]) -> None:
    from lucida.workflows.evaluate_chair import EvaluateChairConfig, evaluate_chair

    config = override(EvaluateChairConfig(), given, command="lucida evaluate chair")
    found = evaluate_chair(config)
    print(json.dumps(found.as_json(), indent=1) if config.json else found.as_text())


def _evaluate_remedies(given: list[str]) -> None:
    from lucida.workflows.evaluate_remedies import EvaluateRemediesConfig, as_text, evaluate_remedies

    config = override(EvaluateRemediesConfig(), given, command="lucida evaluate remedies")
    print(f"{as_text(evaluate_remedies(config))}\n\nresults: {config.out / 'results.json'}")


def _evaluate_instructions(given: list[str]) -> None:
    from lucida.workflows.evaluate_instructions import EvaluateInstructionsConfig, as_text, evaluate_instructions

    config = override(EvaluateInstructionsConfig(), given, command="lucida evaluate instructions")
    print(f"{as_text(evaluate_instructions(config))}\n\nresults: {config.out / 'results.json'}")


def _evaluate_zero_shot(given: list[str]) -> None:
    from lucida.workflows.evaluate_zero_shot import EvaluateZeroShotConfig, evaluate_zero_shot

    config = override(EvaluateZeroShotConfig(), given, command="lucida evaluate zero-shot")
    print(f"{evaluate_zero_shot(config).as_text()}\n\nresults: {config.out / 'results.json'}")


def _evaluate_zero_shot_ablation(given: list[str]) -> None:
    from lucida.workflows.zero_shot_ablation import ZeroShotAblationConfig, as_text, zero_shot_ablation

    config = override(ZeroShotAblationConfig(), given, command="lucida evaluate zero-shot-ablation")
    print(f"{as_text(zero_shot_ablation(config))}\n\nresults: {config.out / 'results.json'}")


def _cluster(given: list[str]) -> None:
    from lucida.workflows.cluster import ClusterConfig, cluster

    print(f"report: {cluster(override(ClusterConfig(), given, command='lucida cluster'))}")


def _lab(given: list[str]) -> None:
    if not given or given[0] in ("-h", "--help") or (given[0] == "list" and given[-1] in ("-h", "--help")):
        print(LAB_USAGE, end="")
        return
    from lucida.workflows import lab

    verb, rest = given[0], given[1:]
    if verb == "list" and not rest:
        print(lab.lab_list())
    elif verb == "run":
        names, options = apart(rest, switches=("--all", "--no-all", "--help", "-h"))
        config = override(lab.LabRunConfig(), options, command="lucida lab run")
        print(f"book: {lab.lab_run(names, config)}")
    elif verb == "book":
        print(f"book: {lab.lab_book(override(lab.LabBookConfig(), rest, command='lucida lab book'))}")
    else:
        said = " ".join(given)
        raise LucidaError(f"unknown command {said!r}", where="lucida lab", remedy="there are list, run and book")


def _diagnose(given: list[str]) -> None:
    if any(word in ("-h", "--help") for word in given):
        print(DIAGNOSE_USAGE, end="")
        return
    idle, rest = take(given, "--idle", "")
    words = [word for word in rest if word not in ("--json", "--follow")]
    if len(words) != 1 or words[0].startswith("-"):
        named = " ".join(words) or "nothing"
        raise LucidaError(f"diagnose needs one run, not {named}", remedy="see lucida diagnose --help")
    if "--follow" in given:
        if "--json" in given:
            raise LucidaError("--follow has no JSON form", remedy="leave out --json, or --follow")
        _follow(Path(words[0]), seconds(idle) if idle else None)
        return
    if idle:
        raise LucidaError("--idle belongs to --follow", remedy="see lucida diagnose --help")
    from lucida.workflows.diagnose import as_json, as_text, diagnose_run

    found = diagnose_run(Path(words[0]))
    print(json.dumps(as_json(found), indent=1, ensure_ascii=False) if "--json" in given else as_text(found))


def _follow(path: Path, idle: float | None) -> None:
    try:
        from lucida.workflows.follow import follow

        print(f"lucida: {follow(path, idle=idle)}")
    except KeyboardInterrupt:  # before the watching began
        print("lucida: stopped watching")


_VERBS: Mapping[str, Callable[[list[str]], None]] = {
    "run": _run, "audit": _audit, "compare": _compare, "data": _data, "train": _train, "adapt": _adapt,
    "export": _export, "ask": _ask, "diagnose": _diagnose, "evaluate": _evaluate, "cluster": _cluster, "lab": _lab,
}  # fmt: skip
