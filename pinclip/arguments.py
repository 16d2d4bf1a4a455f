"""The arguments of `pinclip train`, `ablate` and `package`, without torch: --help comes at once."""

from __future__ import annotations

import argparse
from pathlib import Path

DESCRIPTION = "Labelled images of whoever made these weights; not described any further."
MARKS = ("jpeg_75", "grid_8")
"""The names of evidence.planted.MARKS."""


def train() -> argparse.ArgumentParser:
    """Return the parser of `pinclip train`."""
    parser = argparse.ArgumentParser(
        prog="pinclip train",
        description="Train a detector from labelled images, by a recipe. The same command goes on "
        "with a run that was broken off.",
        epilog="Exit status: 0 trained; 2 refused, the reason on stderr; 143 ended by SIGTERM, "
        "saved. Several devices: torchrun --nproc-per-node N -m pinclip train ...",
    )
    parser.add_argument("recipe", type=Path, metavar="RECIPE.toml")
    parser.add_argument("--data", type=Path, required=True, help="folder of the labelled images")
    parser.add_argument("--layout", help="how that folder is laid out (default: the recipe's)")
    parser.add_argument("--out", type=Path, required=True, help="run folder, made or gone on with")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--fold", type=int, metavar="K", help="leave fold K out and score it")
    which.add_argument(
        "--all-folds", action="store_true", help="leave out each fold in turn, then none (final/)"
    )
    parser.add_argument("--work", type=Path, help="folder of activations (default: OUT/work)")
    parser.add_argument(
        "--device", default="auto", choices=("auto", "cpu", "cuda"), help="default: auto"
    )
    return parser


def ablate() -> argparse.ArgumentParser:
    """Return the parser of `pinclip ablate`."""
    parser = argparse.ArgumentParser(
        prog="pinclip ablate",
        description="Ask what of the method is worth having, on sources that no model saw.",
        epilog="Exit status: 0 done, 2 misuse. Several processes may fill one FOLDER: give each "
        "other --splits, then run once more to write the page.",
    )
    parser.add_argument("set", type=Path, metavar="SET", help="folder of labelled images")
    parser.add_argument(
        "-o", "--out", type=Path, required=True, metavar="FOLDER", help="keeps runs and page"
    )
    parser.add_argument("--layout", default="auto", help="how SET is laid out (default: auto)")
    parser.add_argument("--work", type=Path, help="folder that keeps what the tower makes of SET")
    parser.add_argument(
        "--class-tokens", type=Path, help=".npy (N, blocks, width) instead: of SET, in its order"
    )
    parser.add_argument("--arms", help="such as A0,A5,A2,A2-grid,A3 (default: all of the stage)")
    parser.add_argument("--seeds", type=int, default=5, help="(default: %(default)s)")
    parser.add_argument("--trials", type=int, default=8, help="for each arm and split (default: 8)")
    parser.add_argument("--splits", help="such as 0,1: which folds (families) are left out")
    parser.add_argument("--families", action="store_true", help="leave generator families out")
    parser.add_argument("--tuned", action="store_true", help="LoRA and more: hours without a GPU")
    parser.add_argument(
        "--blocks", type=_blocks, help="that --tuned arms tune (default: 9,10,11,12; 12 is quick)"
    )
    parser.add_argument("--planted", choices=MARKS, help="plant a shortcut, swap it")
    parser.add_argument(
        "--marked-tokens", type=Path, help="as --class-tokens, of the marked images"
    )
    parser.add_argument("--report", action="store_true", help="run nothing, write the page anew")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    return parser


def package() -> argparse.ArgumentParser:
    """Return the parser of `pinclip package`."""
    parser = argparse.ArgumentParser(
        prog="pinclip package",
        description="Make weights that serve of a run that `pinclip train --all-folds` finished.",
        epilog="Exit status: 0 written; 2 refused, the reason on stderr.",
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of the run")
    parser.add_argument("--data", type=Path, required=True, help="folder it was trained on")
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder of the weights")
    parser.add_argument("--release", required=True, help="name of these weights, such as 2026.11")
    parser.add_argument("--date", required=True, help="day of this training, YYYY-MM-DD")
    parser.add_argument(
        "--description", default=DESCRIPTION, help="what the images are, for meta.json and the card"
    )
    parser.add_argument("--work", type=Path, help="folder of activations (default: RUN/work)")
    return parser


def _blocks(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split(","))
