"""Trees of class folders, one function a layout: what the path of an image says of it.

    test/progan/car/1_fake/00001.png
    |    |      |   |
    |    |      |   class folder of a closed list, in any case, at any depth -> label
    |    |      source: the path without class folder and split
    |    generator, and group where the layout says no more
    split

Knows names of folders only; reads nothing. Layouts: method 6.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from .errors import DataError
from .families import family

Parts = tuple[str, ...]
"""The folders on the way to an image, from the set's folder on."""

CLASS_FOLDERS = {
    "ai": "ai",
    "1_fake": "ai",
    "fake": "ai",
    "nature": "real",
    "0_real": "real",
    "real": "real",
}
SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


class Place(NamedTuple):
    """What a tree says of an image beside its label. An empty group is the image's own."""

    generator: str = ""
    source: str = ""
    group: str = ""
    split: str = ""


class Tree(NamedTuple):
    """A layout of class folders: how it looks, how it is known, how its folders are read.

    `fits` gets the name of the set's folder and all folders of images below it, in lower case.
    `place` gets the folders of an image without the class folder; None: it has no place there.
    """

    drawing: str
    fits: Callable[[str, frozenset[Parts]], bool]
    place: Callable[[Parts], Place | None]


def split_class(folders: Parts) -> tuple[str, Parts] | None:
    """Return the label of a path and the path without class folders, None without any.

    Raises DataError contradictory_labels for a path through folders of both classes.
    """
    labels = {CLASS_FOLDERS[name.lower()] for name in folders if name.lower() in CLASS_FOLDERS}
    if len(labels) > 1:
        raise DataError(
            "contradictory_labels",
            f"{'/'.join(folders)} passes class folders of both classes: an image has one label.",
        )
    if not labels:
        return None
    return labels.pop(), tuple(name for name in folders if name.lower() not in CLASS_FOLDERS)


def genimage(folders: Parts) -> Place | None:
    """<Generator>/{train,val}/{ai,nature}; the merged imagenet_ai/ does not name generators."""
    split = next((part.lower() for part in folders if part.lower() in SPLITS), None)
    if split is None or folders[0].lower() in SPLITS:
        return None
    generator = "" if folders[0].lower() == "imagenet_ai" else folders[0]
    return Place(generator, folders[0], generator, SPLITS[split])


def forensynths(folders: Parts) -> Place | None:
    """{train,val}/<LSUN class>, all ProGAN; test/<generator>[/<class>]."""
    split, rest = _split_first(folders)
    if not split or not rest:
        return None
    if split == "test":
        return Place(rest[0], "/".join(rest), rest[0], split)
    return Place("progan", f"progan/{rest[0]}", f"progan/{rest[0]}", split)


def universal_fake_detect(folders: Parts) -> Place | None:
    """[datasets/test|diffusion_datasets]/<set>[/<class>]; diffusion sets share their reals."""
    while folders and folders[0].lower() in {"datasets", "diffusion_datasets"}:
        folders = folders[1:]
    split, rest = _split_first(folders)
    return Place(rest[0], "/".join(rest), rest[0], split or "test") if rest else None


def aigcdetectbenchmark(folders: Parts) -> Place | None:
    """<subset>[/<class>]."""
    split, rest = _split_first(folders)
    return Place(rest[0], "/".join(rest), rest[0], split or "test") if rest else None


def aigibench(folders: Parts) -> Place | None:
    """{train,val}/{car,cat,chair,horse,sdv1.4}, the four ProGAN; test/<subset>."""
    split, rest = _split_first(folders)
    if not split or not rest:
        return None
    subset = rest[0]
    generator = "progan" if split != "test" and subset.lower() in _PROGAN_CLASSES else subset
    return Place(generator, subset, subset, split)


def chameleon(folders: Parts) -> Place | None:
    """<set>, from the web: nobody says which generator."""
    below = folders[1:] if folders and folders[0].lower().startswith("chameleon") else folders
    split, rest = _split_first(below)
    return Place("", "/".join(rest) or "chameleon", "", split)


def wildrf(folders: Parts) -> Place | None:
    """{train,val}; test/{reddit,twitter,facebook}: nobody says which generator."""
    split, rest = _split_first(folders)
    platform = rest[0].lower() if rest else ""
    return Place("", platform or "wildrf", platform, split) if split else None


def folders_of_classes(folders: Parts) -> Place:
    """Any tree: the source is the path, and a generator where families.py knows it by name."""
    split, rest = _split_first(folders)
    source = "/".join(rest)
    known = next((part for part in rest if family(part) != "unknown"), "")
    return Place(known, source, source, split)


def shared_pool(real: Place) -> str:
    """Return where the shared reals of UniversalFakeDetect's diffusion sets come from, or ""."""
    if real.group.lower() not in _DIFFUSION_SETS:
        return ""
    return "imagenet" if real.group.lower() == "guided" else "laion"


def _split_first(folders: Parts) -> tuple[str, Parts]:
    """Return the split that a path begins with, "" if none, and the rest."""
    if folders and folders[0].lower() in SPLITS:
        return SPLITS[folders[0].lower()], folders[1:]
    return "", folders


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_PROGAN_CLASSES = frozenset({"car", "cat", "chair", "horse"})
_LSUN = _words(
    "airplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike "
    "person pottedplant sheep sofa train tvmonitor"
)
_FORENSYNTHS = _words(
    "progan stylegan stylegan2 biggan cyclegan stargan gaugan crn imle san seeingdark deepfake "
    "whichfaceisreal"
)
_DIFFUSION_SETS = _words(
    "guided ldm_200 ldm_200_cfg ldm_100 glide_100_27 glide_50_27 glide_100_10 dalle"
)
_AIGC_DIFFUSION = _words(
    "adm glide midjourney stable_diffusion_v_1_4 stable_diffusion_v_1_5 vqdm wukong dalle2"
)
_AIGI_TEST = _words(
    "r3gan stylegan-xl styleswim blendface e4s inswap simswap flux1-dev midjourney-v6 imagen3 "
    "infinite-id instantid ip-adapter photomaker socialrf communityai"
)
_PLATFORMS = frozenset({"reddit", "twitter", "facebook"})


def _fits_genimage(_: str, paths: frozenset[Parts]) -> bool:
    return any(
        path[depth] in ("ai", "nature") and path[depth - 1] in SPLITS
        for path in paths
        for depth in range(2, len(path))
    )


def _fits_forensynths(_: str, paths: frozenset[Parts]) -> bool:
    return any(
        len(path) > 2
        and ((path[0] == "test" and path[1] in _FORENSYNTHS) or _is_training(path, _LSUN))
        for path in paths
    )


def _fits_universal(_: str, paths: frozenset[Parts]) -> bool:
    names = {name for path in paths for name in path}
    return "diffusion_datasets" in names or len(names & _DIFFUSION_SETS) > 1


def _fits_aigc(_: str, paths: frozenset[Parts]) -> bool:
    return len({path[0] for path in paths if len(path) > 1} & _AIGC_DIFFUSION) > 1


def _fits_aigi(_: str, paths: frozenset[Parts]) -> bool:
    tested = {path[1] for path in paths if len(path) > 2 and path[0] == "test"}
    trained = any(_is_training(path, frozenset({"sdv1.4"})) for path in paths)
    return trained or len(tested & _AIGI_TEST) > 1


def _fits_chameleon(name: str, paths: frozenset[Parts]) -> bool:
    return name.startswith("chameleon") or any(
        len(path) > 1 and path[0].startswith("chameleon") for path in paths
    )


def _fits_wildrf(_: str, paths: frozenset[Parts]) -> bool:
    return any(len(path) > 2 and path[0] == "test" and path[1] in _PLATFORMS for path in paths)


def _is_training(path: Parts, names: frozenset[str]) -> bool:
    return len(path) > 2 and path[0] in ("train", "val") and path[1] in names


# The first that fits is taken, so a layout stands above those that it could be mistaken for.
TREES = {
    "genimage": Tree(
        "<Generator>/{train,val}/{ai,nature}/*\nimagenet_ai/{train,val}/{ai,nature}/*   (merged)",
        _fits_genimage,
        genimage,
    ),
    "universal_fake_detect": Tree(
        "datasets/test/<generator>[/<class>]/{0_real,1_fake}/*\n"
        "diffusion_datasets/{guided,ldm_200,ldm_200_cfg,ldm_100,...}/1_fake/*\n"
        "diffusion_datasets/{imagenet,laion}/0_real/*\n"
        "or <set>/{0_real,1_fake}/*",
        _fits_universal,
        universal_fake_detect,
    ),
    "wildrf": Tree(
        "{train,val}/{0_real,1_fake}/*\ntest/{reddit,twitter,facebook}/{0_real,1_fake}/*",
        _fits_wildrf,
        wildrf,
    ),
    "aigibench": Tree(
        "{train,val}/{car,cat,chair,horse,sdv1.4}/{0_real,1_fake}/*\n"
        "test/<one of 25 subsets>/{0_real,1_fake}/*",
        _fits_aigi,
        aigibench,
    ),
    "forensynths": Tree(
        "{train,val}/<one of 20 LSUN classes>/{0_real,1_fake}/*\n"
        "test/<generator>[/<class>]/{0_real,1_fake}/*",
        _fits_forensynths,
        forensynths,
    ),
    "aigcdetectbenchmark": Tree(
        "<subset>[/<class>]/{0_real,1_fake}/*   (progan, ..., ADM, Glide, VQDM, DALLE2)",
        _fits_aigc,
        aigcdetectbenchmark,
    ),
    "chameleon": Tree(
        "Chameleon/<set>/{0_real,1_fake}/*   (the set's folder is called Chameleon)",
        _fits_chameleon,
        chameleon,
    ),
    "folders": Tree(
        "[<source>/]{ai,1_fake,fake}[/<source>]/*\n[<source>/]{nature,0_real,real}[/<source>]/*",
        lambda _, paths: any(name in CLASS_FOLDERS for path in paths for name in path),
        folders_of_classes,
    ),
}
