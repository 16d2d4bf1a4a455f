"""pinclip.recipe: what a recipe may say, what is refused, and the recipes that ship."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace
from open_clip.transformer import QuickGELU, VisionTransformer

from pinclip import recipe, start
from pinclip.recipe import Recipe, RecipeError, digest, read_recipe

SHIPPED = sorted((Path(recipe.__file__).parent / "recipes").glob("*.toml"))


def test_a_recipe_says_only_what_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('name = "mine"\nseed = 3\n[model.adapter]\nkind = "lora"\nblocks = [12]\n')

    found = read_recipe(path)

    adapter = recipe.Adapter(kind="lora", blocks=(12,))
    assert found == Recipe(name="mine", seed=3, model=recipe.Model(adapter=adapter))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param("seed = 1", "missing required field `name`", id="no-name"),
        pytest.param('name = "a"\ncolour = 1', "unknown field `colour`", id="unknown-key"),
        pytest.param(
            'name = "a"\n[noise]\nsigma = 1', "unknown field `sigma` - at `$.noise`", id="in-table"
        ),
        pytest.param('name = "a"\n[noise]\nkind = "loud"', "loud", id="unknown-kind"),
        pytest.param('name = "a"\n[optimise]\nbatch = 0', "$.optimise.batch", id="out-of-range"),
        pytest.param('name = "a"\n[optimise]\nbatch = "32"', "$.optimise.batch", id="a-string"),
        pytest.param("name = ", "is no recipe", id="no-toml"),
    ],
)
def test_what_is_wrong_with_a_recipe_is_told(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)

    with pytest.raises(RecipeError) as caught:
        read_recipe(path)

    assert told in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_recipe_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="does not exist"):
        read_recipe(tmp_path / "none.toml")


def test_the_digest_is_of_what_is_decided_not_of_how_it_is_written(tmp_path: Path) -> None:
    short, long = tmp_path / "short.toml", tmp_path / "long.toml"
    short.write_text('name = "mine"')
    long.write_text('# as by default\nseed = 0\nname = "mine"\n[optimise]\nclip = 1.0\n')

    assert digest(read_recipe(short)) == digest(read_recipe(long))
    assert digest(read_recipe(short)) != digest(replace(read_recipe(short), seed=1))


@pytest.mark.parametrize("path", SHIPPED, ids=[path.stem for path in SHIPPED])
def test_a_shipped_recipe_is_named_as_its_file_and_fits_a_tower_of_twelve_blocks(
    path: Path,
) -> None:
    tower = VisionTransformer(
        image_size=32,
        patch_size=16,
        width=64,
        layers=12,
        heads=4,
        mlp_ratio=1,
        output_dim=32,
        act_layer=QuickGELU,
    )

    found = read_recipe(path)

    assert found.name == path.stem
    assert start.make(tower, found).trainable()["head"]


def test_recipes_ship() -> None:
    assert {"frozen-noise", "lora", "orthogonal"} <= {path.stem for path in SHIPPED}


def parts(kind: type[recipe.Part] = Recipe) -> list[tuple[type[recipe.Part], str]]:
    """Every table of a recipe with each of its keys."""
    found = [(kind, field) for field in kind.__struct_fields__]
    for value in kind.__struct_defaults__:
        if isinstance(value, recipe.Part):
            found += parts(type(value))
    return found


def test_the_page_on_training_explains_every_key() -> None:
    page = (Path(__file__).parents[2] / "docs" / "training.md").read_text()
    tables = {"data", "equalise", "augment", "model", "adapter", "noise", "optimise"}

    keys = {key for _, key in parts()}
    missing = {key for key in keys - tables if f"`{key}`" not in page}

    assert missing == set()
    assert len(keys) > 40
