"""What `pinclip bulk` takes as IN, and what it says of the rest."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

pa = pytest.importorskip("pyarrow")
pytest.importorskip("braceexpand")

import pyarrow.parquet as pq  # noqa: E402 - after the skip

from worker.bulk.inputs import InputsUnusable, digest, listed, read  # noqa: E402

Draw = Callable[..., bytes]


def _shard(path: Path, members: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def test_folder_is_listed_at_any_depth_in_order(tmp_path: Path, picture: Draw) -> None:
    for name in ("b.png", "a/z.jpg", "a/deep/er/x.webp"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(7))
    (tmp_path / "notes.txt").write_text("not looked at")

    listing = listed([str(tmp_path)])

    assert listing["input"].to_pylist() == ["a/deep/er/x.webp", "a/z.jpg", "b.png"]
    assert listing["row"].to_pylist() == [0, 1, 2]
    assert read(listing.to_pylist()[0]) == picture(7)


def test_folder_keeps_its_digest_when_it_moves_and_changes_it_with_a_name(
    tmp_path: Path, picture: Draw
) -> None:
    folder = tmp_path / "one"
    folder.mkdir()
    (folder / "a.png").write_bytes(picture(1))
    before = digest(listed([str(folder)]))

    moved = folder.rename(tmp_path / "two")
    assert digest(listed([str(moved)])) == before

    (moved / "b.png").write_bytes(picture(2))
    assert digest(listed([str(moved)])) != before


def test_csv_gives_a_row_for_each_row_even_an_empty_one(tmp_path: Path) -> None:
    table = tmp_path / "urls.csv"
    table.write_text(
        'id,url,caption\n1,http://h.test/a.png,"two\nlines"\n2,,none\n3,http://h.test/a.png,again\n'
    )

    listing = listed([str(table)])

    assert listing["input"].to_pylist() == ["http://h.test/a.png", "", "http://h.test/a.png"]
    assert listing["source"].to_pylist() == [None, None, None]


def test_parquet_gives_urls_and_nulls(tmp_path: Path) -> None:
    table = tmp_path / "urls.parquet"
    pq.write_table(pa.table({"url": ["http://h.test/a.png", None], "path": ["x", "y"]}), table)

    assert listed([str(table)])["input"].to_pylist() == ["http://h.test/a.png", None]


def test_paths_of_a_table_are_below_its_folder(tmp_path: Path, picture: Draw) -> None:
    (tmp_path / "a.png").write_bytes(picture(9))
    table = tmp_path / "paths.csv"
    table.write_text(f"path\na.png\n{tmp_path}/a.png\n")

    rows = listed([str(table)]).to_pylist()

    assert [row["input"] for row in rows] == ["a.png", f"{tmp_path}/a.png"]
    assert [read(row) for row in rows] == [picture(9)] * 2


@pytest.mark.parametrize(
    "pattern", ["{0}/s-0.tar|{0}/s-1.tar", "{0}/s-*.tar", "{0}/s-{{0..1}}.tar"]
)
def test_shards_give_their_images_without_being_unpacked(
    tmp_path: Path, picture: Draw, pattern: str
) -> None:
    _shard(tmp_path / "s-0.tar", {"0.jpg": picture(1), "0.json": b"{}", "1.png": picture(2)})
    _shard(tmp_path / "s-1.tar", {"deep/2.webp": picture(3)})

    rows = listed(pattern.format(tmp_path).split("|")).to_pylist()

    assert [row["input"] for row in rows] == [
        "s-0.tar/0.jpg",
        "s-0.tar/1.png",
        "s-1.tar/deep/2.webp",
    ]
    assert [read(row) for row in rows] == [picture(1), picture(2), picture(3)]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        pytest.param("gone", "There is nothing at", id="no such path"),
        pytest.param("gone-*.tar", "No file matches", id="no such shard"),
        pytest.param("empty", "There is no image below", id="empty folder"),
        pytest.param("notes.txt", "neither a folder, nor .csv", id="other suffix"),
        pytest.param("other.csv", "has no column 'url' or 'path', only 'link'", id="no column"),
        pytest.param("ragged.csv", "cannot be read as csv", id="ragged"),
        pytest.param("bytes.csv", "cannot be read as csv", id="no CSV"),
        pytest.param("headed.csv", "has no rows", id="no rows"),
        pytest.param("text.parquet", "cannot be read as parquet", id="no Parquet"),
        pytest.param("numbers.parquet", "has no rows", id="no rows in Parquet"),
        pytest.param("packed.tar", "is no tar file that can be read", id="compressed"),
        pytest.param("text.tar", "There is no image in", id="shard without images"),
    ],
)
def test_what_cannot_be_listed_is_told_in_a_sentence(
    tmp_path: Path, picture: Draw, name: str, says: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("text")
    (tmp_path / "other.csv").write_text("link\nhttp://h.test/\n")
    (tmp_path / "ragged.csv").write_text("url,id\nhttp://h.test/,1\nhttp://h.test/\n")
    (tmp_path / "bytes.csv").write_bytes(b"url\n" + picture(3))
    (tmp_path / "headed.csv").write_text("url\n")
    (tmp_path / "text.parquet").write_text("url\n")
    pq.write_table(pa.table({"url": pa.array([], pa.string())}), tmp_path / "numbers.parquet")
    _shard(tmp_path / "packed.tar", {"0.jpg": picture(1)}, "w:gz")
    _shard(tmp_path / "text.tar", {"0.txt": b"text"})

    with pytest.raises(InputsUnusable, match=says):
        listed([str(tmp_path / name)])


def test_only_shards_can_be_several(tmp_path: Path) -> None:
    with pytest.raises(InputsUnusable, match="only shards"):
        listed([str(tmp_path), str(tmp_path)])
