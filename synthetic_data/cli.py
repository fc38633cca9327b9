"""``maquette dataset``: plan, render, resume, verify, preview, export and pack a set of synthetic heads."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from backend.api import ErrorCode
from backend.arguments import Parser
from backend.errors import MaquetteError

if TYPE_CHECKING:
    from synthetic_data.config import DatasetConfig
    from synthetic_data.farm import Workers
    from synthetic_data.shards import Renderer


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command. Raises MaquetteError with a sentence for the user."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except ValueError as problem:
        text = str(problem).rstrip(".")
        raise MaquetteError(ErrorCode.BAD_REQUEST, f"{text[:1].upper()}{text[1:]}.", stage="dataset") from None


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="maquette dataset", description=(__doc__ or "").strip(), allow_abbrev=False)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(name: str, run: object, text: str, folder: str | None = None) -> argparse.ArgumentParser:
        one = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        one.set_defaults(run=run)
        if folder:
            one.add_argument("folder", type=Path, metavar="DIR", help=folder)
        return one

    plan = command("plan", _plan, "say what a set costs before it is rendered")
    _add_set(plan)
    _add_workers(plan)
    render = command("render", _render, "render a set, or go on with it")
    _add_set(render)
    _add_workers(render)
    render.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the set")
    resume = command("resume", _resume, "go on with a set in a folder", "folder of the set")
    _add_workers(resume)
    verify = command("verify", _verify, "find missing and damaged shards", "folder of the set")
    verify.add_argument("--deep", action="store_true", help="read every byte")
    verify.add_argument("--repair", action="store_true", help="remove and render again what is wrong")
    _add_workers(verify)
    preview = command("preview", _preview, "make a contact sheet and a page to browse", "folder of the set")
    preview.add_argument("--first", type=int, metavar="N", help="first identity (default: the set's)")
    preview.add_argument("--count", type=int, default=64, metavar="N", help="identities (default: 64)")
    preview.add_argument("--out", type=Path, metavar="DIR", help="default: DIR/preview")
    export = command("export", _export, "write one identity for nerfstudio: transforms.json", "folder of the set")
    export.add_argument("--identity", type=int, required=True, metavar="N", help="which one")
    export.add_argument("--take", type=int, default=0, metavar="N", help="which expression (default: 0)")
    export.add_argument("--out", type=Path, required=True, metavar="DIR")
    pack = command("pack", _pack, "write a small copy for training: few files", "folder of the set")
    pack.add_argument("--out", type=Path, required=True, metavar="DIR")
    pack.add_argument("--partial", action="store_true", help="what is finished so far")
    return parser


def _add_set(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--split", metavar="NAME", help="a set of the frozen protocol: train, held-out...")
    parser.add_argument("--name", help="a word for the set")
    parser.add_argument("--seed", type=int, metavar="N")
    parser.add_argument("--identities", type=_span, metavar="A:B", help="indices from A to B - 1")
    parser.add_argument("--preset", metavar="fit|portrait|show", help="how views are lit and rendered")
    parser.add_argument("--resolution", type=int, dest="size", metavar="R", help="pixels per side")
    parser.add_argument("--views", type=int, metavar="N", help="pictures around each head")
    parser.add_argument("--portraits", type=int, metavar="N", help="further pictures as people take them")
    parser.add_argument("--takes", type=int, metavar="N", help="expressions per identity")
    parser.add_argument("--passes", type=lambda text: tuple(text.split(",")), metavar="A,B", help="see config.PASSES")
    parser.add_argument("--samples", type=int, metavar="N", help="of the renderer per pixel of a view")
    parser.add_argument("--portrait-samples", type=int, metavar="N", help="of the renderer per pixel of a portrait")
    parser.add_argument("--per-shard", type=int, dest="identities_per_shard", metavar="N", help="identities in a tar")


def _add_workers(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--shards", type=_span, metavar="A:B", help="only these, for a batch system")
    parser.add_argument("--workers", type=int, default=0, metavar="N", help="processes (default: one per core)")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="of each worker (default: 1)")
    parser.add_argument("--nice", type=int, default=10, metavar="N", help="priority, 0 to 19 (default: 10)")
    parser.add_argument("--recycle", type=int, default=100, metavar="N", help="identities until a worker is replaced")
    parser.add_argument("--ray", metavar="ADDRESS", help="a Ray cluster, or 'local'")
    parser.add_argument("--blender", metavar="EXE", help="an installed Blender instead of the bpy module")
    parser.add_argument("--device", default="CPU", metavar="CPU|CUDA|OPTIX|HIP|ONEAPI|METAL", help="default: CPU")
    parser.add_argument("--probe", type=int, default=0, metavar="N", help="measure N identities for the estimate")


def _span(text: str) -> range:
    first, colon, end = text.partition(":")
    if not (colon and first.isdigit() and end.isdigit() and int(first) < int(end)):
        raise argparse.ArgumentTypeError(f"{text!r} is no range such as 0:100")
    return range(int(first), int(end))


def _config(options: argparse.Namespace) -> DatasetConfig:
    from synthetic_data.config import PASSES, DatasetConfig
    from synthetic_data.splits import split

    base = split(options.split) if options.split else DatasetConfig()
    names = [field.name for field in dataclasses.fields(DatasetConfig)]
    given = {name: value for name in names if (value := getattr(options, name, None)) is not None}
    if options.identities:
        given |= {"first": options.identities.start, "count": len(options.identities)}
    if unknown := [name for name in given.get("passes", ()) if name not in PASSES]:
        raise ValueError(f"there is no pass {unknown[0]!r}, only {', '.join(PASSES)}")
    if options.split and given.keys() - {"size", "identities_per_shard"}:
        raise ValueError("a split of the protocol is frozen; only --resolution and --per-shard go with --split")
    return dataclasses.replace(base, **given)


def _workers(options: argparse.Namespace) -> Workers:
    from synthetic_data.farm import Workers, available_cores

    for name, low in (("workers", 0), ("threads", 1), ("nice", 0), ("recycle", 1), ("probe", 0)):
        if getattr(options, name) < low:
            raise ValueError(f"--{name} must be at least {low}")
    count = options.workers or max(1, available_cores() // options.threads)
    return Workers(count, options.threads, min(options.nice, 19), options.recycle)


def _renderer(options: argparse.Namespace) -> Renderer:
    from synthetic_data.person import DEVICES
    from synthetic_data.record import render_anny

    if options.device not in DEVICES:
        raise ValueError(f"there is no device {options.device!r}, only {', '.join(DEVICES)}")
    if options.blender and shutil.which(options.blender) is None:
        raise ValueError(f"there is no program {options.blender}: --blender is the path of Blender's executable")
    return functools.partial(render_anny, blender=options.blender, device=options.device)


def _shards(options: argparse.Namespace, config: DatasetConfig) -> range:
    wanted = options.shards or range(config.shards)
    if wanted[-1] >= config.shards:
        raise ValueError(f"the set has {config.shards} shards, from 0 to {config.shards - 1}")
    return wanted


def _plan(options: argparse.Namespace) -> None:
    config, workers = _config(options), _workers(options)
    _estimate(config, _shards(options, config), workers, options)


def _estimate(config: DatasetConfig, shards: Sequence[int], workers: Workers, options: argparse.Namespace) -> None:
    from synthetic_data import plan

    identities = sum(len(config.indices(shard)) for shard in shards)
    if options.probe:
        few, renderer = min(options.probe, config.count), _renderer(options)
        print(plan.probe(config, identities, workers, few, renderer=renderer), flush=True)
    else:
        print(plan.estimate(config, identities, workers), flush=True)


def _render(options: argparse.Namespace) -> None:
    from synthetic_data.shards import open_folder

    config = _config(options)
    _workers(options)
    _renderer(options)
    _shards(options, config)
    open_folder(options.out, config)
    options.folder = options.out
    _resume(options)


def _resume(options: argparse.Namespace) -> None:
    from synthetic_data.shards import read_config
    from synthetic_data.verify import clear, verify

    config = read_config(options.folder)
    problems = verify(options.folder, shards=_shards(options, config))
    if problems:
        config.check_renderable()  # before anything is deleted
    _work(options, config, clear(options.folder, problems))


def _work(options: argparse.Namespace, config: DatasetConfig, todo: Sequence[int]) -> None:
    """Render shards, and say how it goes and where the result is."""
    from synthetic_data.farm import render_locally, throttle
    from synthetic_data.manifest import write_manifest
    from synthetic_data.schedule import human_time, progress_line

    workers, renderer = _workers(options), _renderer(options)
    if todo:
        _estimate(config, todo, workers, options)
        live = sys.stdout.isatty()

        def show(summary: dict[str, object]) -> None:
            if not (live or summary["done"]):
                return
            print(f"\r{progress_line(summary)}\033[K" if live else progress_line(summary), end="" if live else "\n")
            sys.stdout.flush()

        watch = throttle(show, 1 if live else 30)
        with _stoppable(options.folder):
            if options.ray:
                from synthetic_data.ray_farm import render_on_ray

                schedule = render_on_ray(
                    config, options.folder, todo, workers, options.ray, renderer=renderer, watch=watch
                )
            else:
                schedule = render_locally(config, options.folder, todo, workers, renderer=renderer, watch=watch)
        show(summary := schedule.summary())
        print(f"{chr(10) if live else ''}Rendered in {human_time(summary['seconds'])}.")
        for index, reason in sorted(schedule.failures.items()):
            print(f"identity {index} was set aside: {reason}")
    manifest = write_manifest(options.folder)
    state = (
        f"sha256 {manifest['sha256']}" if manifest["complete"] else f"{len(manifest['missing_shards'])} shards to go"
    )
    counts = f"{manifest['identities']} identities, {manifest['views']} views, {len(manifest['failed'])} set aside"
    print(f"Done: {options.folder.resolve()} holds {counts}; {state}")


@contextlib.contextmanager
def _stoppable(folder: Path) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        sentence = f"Stopped; finished shards are kept, and 'maquette dataset resume {folder}' goes on."
        raise MaquetteError(ErrorCode.CANCELLED, sentence, stage="dataset") from None


def _verify(options: argparse.Namespace) -> None:
    from synthetic_data.shards import read_config
    from synthetic_data.verify import clear, verify

    config = read_config(options.folder)
    if options.repair:
        _workers(options)
        config.check_renderable()
    shards = _shards(options, config) if options.shards else None
    problems = verify(options.folder, deep=options.deep, shards=shards)
    for problem in problems:
        print(problem)
    if options.repair:
        _work(options, config, clear(options.folder, problems))
    elif problems:
        sentence = f"{len(problems)} shards are missing or damaged: add --repair to render them again."
        raise MaquetteError(ErrorCode.BAD_REQUEST, sentence, stage="dataset")
    else:
        print(f"Done: {options.folder.resolve()} is complete and whole" + (" (every byte was read)" * options.deep))


def _preview(options: argparse.Namespace) -> None:
    from synthetic_data.preview import write_preview

    out = options.out or options.folder / "preview"
    paths = write_preview(options.folder, out, first=options.first, count=options.count)
    print(f"Done: {out.resolve()} holds {', '.join(path.name for path in paths)}")


def _export(options: argparse.Namespace) -> None:
    from synthetic_data.export_transforms import export_transforms

    print(f"Done: {export_transforms(options.folder, options.identity, options.out, take=options.take).resolve()}")


def _pack(options: argparse.Namespace) -> None:
    from synthetic_data.pack import write_pack
    from synthetic_data.plan import human_bytes

    paths = write_pack(options.folder, options.out, partial=options.partial)
    size = sum(path.stat().st_size for path in paths)
    print(f"Done: {options.out.resolve()} holds {len(paths)} files of together {human_bytes(size)}")
