"""pinclip.attribution: the map lights what the detector looks at, and follows its weights."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.stats import spearmanr

from pinclip import attribution
from pinclip.attribution import Map, PictureError, occlude
from pinclip.detector import Detector
from pinclip.graph import OpenVinoTower
from pinclip.weights import Weights, open_weights

SIDE, PATCH = 14, 16


class PatchTower:
    """A detector.Tower whose score is a sum over patches: `weight` (14, 14) times the patch mean.

    What every map of it must be can be worked out by hand.
    """

    engine, precision, device = "patches", "float32", "cpu"

    def __init__(self, weight: np.ndarray) -> None:
        self.weight = weight
        self.sizes: list[int] = []

    def forward(self, batch: np.ndarray) -> np.ndarray:
        self.sizes.append(len(batch))
        means = batch.reshape(-1, 3, SIDE, PATCH, SIDE, PATCH).mean(axis=(1, 3, 5))
        outputs = np.zeros((len(batch), 5), np.float32)
        outputs[:, 0] = (means * self.weight).sum(axis=(1, 2)) + 0.5
        return outputs

    def forward_both(self, batch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.forward(batch), np.empty((len(batch), 0), np.float32)


class HeadTower:
    """The real tower, kept by picture, under a head that can be exchanged."""

    engine, precision, device = "openvino", "float32", "cpu"

    def __init__(self, features: OpenVinoTower, weight: np.ndarray, seen: dict) -> None:
        self.features = features
        self.weight = weight
        self.seen = seen

    def forward(self, batch: np.ndarray) -> np.ndarray:
        new = {image.tobytes(): image for image in batch if image.tobytes() not in self.seen}
        for key, image in new.items():
            self.seen[key] = self.features.forward(image[None])[0]
        return np.stack([self.seen[image.tobytes()] for image in batch]) @ self.weight.T

    def forward_both(self, batch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.forward(batch), np.empty((len(batch), 0), np.float32)


@pytest.fixture(scope="module")
def weights(folder: Path) -> Weights:
    return open_weights(folder)


def detector_of(weights: Weights, tower: PatchTower | HeadTower, limit: int = 8) -> Detector:
    return Detector(weights, tower, batch_limit=limit, reason="for a test")


def planted(rows: slice, columns: slice) -> np.ndarray:
    weight = np.zeros((SIDE, SIDE))
    weight[rows, columns] = 1
    return weight


BRIGHT = np.ones((3, 224, 224), np.float32)


def test_map_lights_the_region_that_a_detector_looks_at(weights: Weights) -> None:
    region = np.s_[2:5], np.s_[8:12]
    detector = detector_of(weights, PatchTower(planted(*region)))

    drop = occlude(detector, BRIGHT, window=2, stride=1).drop

    inside = drop[region]
    assert inside.min() > drop[planted(*region) == 0].max()
    assert (drop[7:] == 0).all()  # further away than a window reaches
    assert (drop[:, :7] == 0).all()


def test_map_is_the_mean_drop_of_the_windows_that_hide_a_patch(weights: Weights) -> None:
    weight = np.random.default_rng(0).normal(size=(SIDE, SIDE))
    detector = detector_of(weights, PatchTower(weight))

    found = occlude(detector, BRIGHT, window=4, stride=2)

    assert found.outputs[0] == pytest.approx(weight.sum() + 0.5, abs=1e-4)
    assert found.drop[0, 0] == pytest.approx(weight[:4, :4].sum(), abs=1e-4)
    both = (weight[:4, :4].sum() + weight[:4, 2:6].sum()) / 2
    assert found.drop[0, 2] == pytest.approx(both, abs=1e-4)
    assert found.drop[13, 13] == pytest.approx(weight[10:, 10:].sum(), abs=1e-4)


def test_map_has_the_sign_of_what_a_patch_speaks_for(weights: Weights) -> None:
    weight = planted(np.s_[0:3], np.s_[0:3]) - planted(np.s_[11:14], np.s_[11:14])

    drop = occlude(detector_of(weights, PatchTower(weight)), BRIGHT).drop

    assert drop[1, 1] == drop.max() > 0
    assert drop[12, 12] == drop.min() < 0


@pytest.mark.parametrize(("stride", "windows"), [(1, 121), (2, 36), (3, 25), (4, 16)])
def test_occlude_hides_every_patch_in_batches_that_fit(
    weights: Weights, stride: int, windows: int
) -> None:
    tower = PatchTower(np.ones((SIDE, SIDE)))

    drop = occlude(detector_of(weights, tower, limit=7), BRIGHT, stride=stride).drop

    np.testing.assert_allclose(drop, 16, atol=1e-3)  # each window hides 16 patches
    assert sum(tower.sizes) == windows + 1
    assert max(tower.sizes) <= 7


@pytest.mark.parametrize(("window", "stride"), [(4, 5), (4, 0), (15, 2)])
def test_occlude_refuses_to_leave_patches_unseen(
    weights: Weights, window: int, stride: int
) -> None:
    detector = detector_of(weights, PatchTower(np.ones((SIDE, SIDE))))

    with pytest.raises(ValueError, match=f"window is {window} and stride {stride}"):
        occlude(detector, BRIGHT, window=window, stride=stride)


@pytest.mark.slow
def test_map_follows_the_head(weights: Weights, pictures: list[Image.Image]) -> None:
    """The parameter randomisation test of Adebayo et al., arXiv 1810.03292."""
    features = OpenVinoTower(weights.base(), weights.meta.blocks, None, precision="float32")
    head = weights.head()
    true = head.weight.copy()
    if head.hidden is not None:  # its linear part stands for it
        true[0] += head.hidden.output @ head.hidden.weight
    seen: dict[bytes, np.ndarray] = {}
    random = np.random.default_rng(0)

    def drops(weight: np.ndarray) -> np.ndarray:
        detector = detector_of(weights, HeadTower(features, weight, seen))
        prepared = detector.prepare(np.asarray(pictures[0]))
        return occlude(detector, prepared, window=5, stride=5).drop.ravel()

    real = drops(true)
    shaken = drops(true + 0.1 * true.std() * random.normal(size=true.shape).astype(np.float32))
    others = [drops(random.permuted(true, axis=1)) for _ in range(9)]

    assert spearmanr(real, shaken).statistic > 0.9
    assert abs(np.mean([spearmanr(real, other).statistic for other in others])) < 0.3
    assert np.ptp(real) > 0.1


def test_picture_shows_colours_where_the_map_is_and_says_what_it_is_not(
    weights: Weights, tmp_path: Path
) -> None:
    weight = planted(np.s_[0:4], np.s_[0:4]) - planted(np.s_[10:14], np.s_[10:14])
    white = np.full((300, 300, 3), 255, np.uint8)
    path = tmp_path / "map.png"

    reading = attribution.explain(detector_of(weights, PatchTower(weight)), white, path)

    with Image.open(path) as image:
        said = image.text["Description"]
        pixels = np.asarray(image.convert("RGB"), np.int64)
    red, middle, blue = pixels[40, 40], pixels[240, 240], pixels[440, 440]
    assert red[0] > red[2] + 50
    assert blue[2] > blue[0] + 50
    assert middle.min() > 240
    assert f"{reading.score:.3f}" in said
    assert "no proof" in said
    assert [found.name for found in tmp_path.iterdir()] == ["map.png"]


def test_map_of_nothing_has_no_colour(weights: Weights) -> None:
    found = Map(drop=np.full((SIDE, SIDE), 1e-4), outputs=np.zeros(5, np.float32))

    picture = attribution.draw(found, Image.new("RGB", (224, 224), "white"), "said")

    assert np.asarray(picture)[20:460, 20:460].min() >= 254


def test_visible_gives_back_the_square_that_was_prepared(
    weights: Weights, pictures: list[Image.Image]
) -> None:
    from pinclip.preprocess import transform

    how = weights.meta.preprocessing
    square = pictures[1].resize((224, 224))

    again = attribution.visible(transform(square, how), how)

    np.testing.assert_array_equal(np.asarray(again), np.asarray(square))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "does not exist"),
        (b"", "no picture that Pillow can read"),
        (b"not a picture", "no picture that Pillow can read"),
        ("truncated", "cannot be read as a picture"),
        ("32 bit", "8-bit first"),
    ],
    ids=["missing", "empty", "text", "truncated", "no fixed range"],
)
def test_read_says_why_a_file_is_no_picture(
    tmp_path: Path, content: bytes | str | None, said: str
) -> None:
    path = tmp_path / "image.tiff"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content == "truncated":
        Image.effect_noise((64, 64), 50).save(path, "PNG")
        path.write_bytes(path.read_bytes()[:1000])
    elif content == "32 bit":
        Image.new("F", (64, 64)).save(path)

    with pytest.raises(PictureError, match=said):
        attribution.read(path)


def test_command_explains_without_torch(
    tuned_folder: Path, tmp_path: Path, pictures: list[Image.Image]
) -> None:
    picture, path = tmp_path / "in.jpg", tmp_path / "map.png"
    pictures[0].save(picture)
    arguments = [str(picture), "-o", str(path), "--weights", str(tuned_folder), "--stride", "4"]
    code = (
        "import sys\n"
        "from importlib.abc import MetaPathFinder\n"
        "class No(MetaPathFinder):\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('torch', 'open_clip', 'matplotlib'):\n"
        "            raise ModuleNotFoundError(name, name=name)\n"
        "sys.meta_path.insert(0, No())\n"
        "from pinclip.attribution import main\n"
        f"sys.exit(main({arguments!r}))\n"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{path}: score 0.")
    with Image.open(path) as image:
        assert image.format == "PNG"


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["{0}/no.jpg", "-o", "{0}/map.png"], 2, "no.jpg does not exist"),
        (["{0}/in.png", "-o", "{0}/no/map.png"], 2, "no is no folder"),
        (["{0}/in.png", "-o", "{0}/map.png", "--weights", "other"], 3, "'other'"),
    ],
    ids=["no picture", "no folder", "no such weights"],
)
def test_command_says_what_is_wrong(
    arguments: list[str],
    status: int,
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    Image.new("RGB", (32, 32)).save(tmp_path / "in.png")

    assert attribution.main([argument.format(tmp_path) for argument in arguments]) == status

    error = capsys.readouterr().err
    assert error.startswith("pinclip: ")
    assert said in error
    assert [found.name for found in tmp_path.iterdir()] == ["in.png"]
