"""Images from every kind of source, and what is wrong with files named."""

from __future__ import annotations

import gzip
import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from geoquant.errors import FileFormatError, InputError
from geoquant.torch import ImageSet, datasets, load_images
from geoquant.torch.datasets import read_idx

if TYPE_CHECKING:
    from pathlib import Path


def idx(array: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    return header + array.astype(np.uint8).tobytes()


def write_mnist(folder: Path, *, packed: bool) -> tuple[np.ndarray, np.ndarray]:
    folder.mkdir(parents=True)
    pixels = np.arange(5 * 4 * 4).reshape(5, 4, 4)
    labels = np.array([3, 1, 4, 1, 5])
    for name, array in {"images-idx3-ubyte": pixels, "labels-idx1-ubyte": labels}.items():
        for part in ("train", "t10k"):
            raw = idx(array)
            path = folder / f"{part}-{name}{'.gz' if packed else ''}"
            path.write_bytes(gzip.compress(raw) if packed else raw)
    return pixels, labels


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Data and cache are below an empty folder."""
    monkeypatch.setenv("GEOQUANT_DATA", str(tmp_path / "data"))
    monkeypatch.setattr("pooch.os_cache", lambda name: tmp_path / "cache" / name)
    return tmp_path


def write_picture(path: Path, colour: Any, size: tuple[int, int] = (6, 4), mode: str = "L") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("place", ["data/mnist", "cache/geoquant/mnist"])
def test_mnist(own_folders: Path, packed: bool, place: str) -> None:
    """Packed or plain, in the data folder or the cache, with labels."""
    pixels, labels = write_mnist(own_folders / place, packed=packed)
    images = load_images("mnist", "test", limit=3)
    np.testing.assert_array_equal(images.pixels[:, 0], pixels[:3])
    np.testing.assert_array_equal(images.labels, labels[:3])  # type: ignore[arg-type]
    assert images.image_shape == (1, 4, 4)
    assert images.images([2])[0, 0, 0, 1].item() == pytest.approx(33 / 255)


def test_missing_mnist_says_where_and_how(own_folders: Path) -> None:
    """The error names the folders that were looked in, and the cure."""
    wanted = r"data.mnist and in .*cache.*--download.*GEOQUANT_DATA"
    with pytest.raises(FileFormatError, match=wanted):
        load_images("mnist")


def test_download(own_folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only when asked, and only what is missing, is fetched into the cache with its known sum."""
    write_mnist(own_folders / "mirror", packed=True)
    asked: list[dict[str, Any]] = []

    def retrieve(url: str, *, known_hash: str, fname: str, path: Path) -> None:
        asked.append({"url": url, "known_hash": known_hash})
        path.mkdir(parents=True, exist_ok=True)
        (path / fname).write_bytes((own_folders / "mirror" / fname).read_bytes())

    monkeypatch.setattr("pooch.retrieve", retrieve)
    for split, n_asked in (("train", 2), ("test", 4), ("train", 4)):
        assert len(load_images("fashion-mnist", split, download=True)) == 5  # type: ignore[arg-type]
        assert len(asked) == n_asked
    sums = datasets._MIRRORS["fashion-mnist"].checksums
    for request in asked:
        assert request["known_hash"] == "sha256:" + sums[request["url"].rpartition("/")[2]]


def test_failed_download_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """No network is an error that names the data set."""

    def retrieve(url: str, **options: Any) -> None:
        raise OSError("no route")

    monkeypatch.setattr("pooch.retrieve", retrieve)
    with pytest.raises(FileFormatError, match=r"mnist.*cannot be fetched: no route.*put it into"):
        load_images("mnist", download=True)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "must begin with 00000802, found nothing"),
        (b"\0\0\x0d\x02" + bytes(8), "must begin with 00000802, found 00000d02"),
        (idx(np.zeros(3)), "must begin with 00000802, found 00000801"),
        (b"\0\0\x08\x02\0\0\0\x01", "ends within its header"),
        (idx(np.zeros((2, 3)))[:-1], r"6 bytes of shape \(2, 3\), found only 5"),
        (idx(np.zeros((2, 3))) + b"x", r"6 bytes of shape \(2, 3\), found more"),
        (idx(np.zeros((2, 0))), r"found shape \(2, 0\)"),
        (b"\0\0\x08\x02" + b"\xff" * 8, r"between 1 and .*\(4294967295, 4294967295\)"),
    ],
)
def test_broken_idx(own_folders: Path, raw: bytes, message: str, packed: bool) -> None:
    """A header that disagrees with the file, or asks for too much, is refused."""
    path = own_folders / "broken-idx"
    path.write_bytes(gzip.compress(raw) if packed else raw)
    with pytest.raises(FileFormatError, match=rf"broken-idx: .*{message}.*fetch it again"):
        read_idx(path, 2)


def test_broken_gzip(own_folders: Path) -> None:
    """A packed file that is cut short or changed is named."""
    path = own_folders / "broken-idx.gz"
    whole = gzip.compress(idx(np.arange(300)))
    for raw in (whole[:-9], whole[:-8] + b"????" + whole[-4:]):
        path.write_bytes(raw)
        with pytest.raises(FileFormatError, match=r"broken-idx\.gz: cannot be unpacked"):
            read_idx(path, 1)


def test_labels_must_be_as_many(own_folders: Path) -> None:
    """Images and labels of different number are refused."""
    write_mnist(own_folders / "data/mnist", packed=False)
    (own_folders / "data/mnist/train-labels-idx1-ubyte").write_bytes(idx(np.zeros(4)))
    with pytest.raises(FileFormatError, match=r"one label for each of the 5 images.*found 4"):
        load_images("mnist")


def test_folder_with_classes_and_splits(own_folders: Path) -> None:
    """Folders train and test are the splits; folders in them the classes, by name."""
    root = own_folders / "pictures"
    write_picture(root / "train" / "b" / "1.png", 10)
    write_picture(root / "train" / "a" / "2.png", 20)
    write_picture(root / "test" / "a" / "3.png", 30)
    train, test = load_images(root), load_images(root, "test")
    assert train.pixels[:, 0, 0, 0].tolist() == [20, 10]
    assert train.labels is not None
    assert train.labels.tolist() == [0, 1]
    assert test.pixels.shape == (1, 1, 4, 6)


def test_folder_without_splits(own_folders: Path) -> None:
    """Every tenth image by name is for testing, and nothing is in both."""
    for number in range(20):
        write_picture(own_folders / "p" / f"{number:02}.png", number)
    train, test = load_images(own_folders / "p"), load_images(own_folders / "p", "test")
    assert test.pixels[:, 0, 0, 0].tolist() == [9, 19]
    assert len(train) == 18
    assert train.labels is None


def test_folder_of_colours_and_sizes(own_folders: Path) -> None:
    """Grey and coloured images become coloured; different sizes need one to be asked for."""
    write_picture(own_folders / "p" / "a.png", 100)
    write_picture(own_folders / "p" / "b.jpg", (200, 0, 0), (8, 8), "RGB")
    wanted = r"b\.jpg.*found 8 × 8 here and 6 × 4 in .*a\.png; give .*--image-size"
    with pytest.raises(FileFormatError, match=wanted):
        load_images(own_folders / "p")
    images = load_images(own_folders / "p", image_size=5)
    assert images.pixels.shape == (2, 3, 5, 5)
    assert images.pixels[0].min() == images.pixels[0].max() == 100
    assert abs(int(images.pixels[1, 0, 2, 2]) - 200) < 5


def test_celeba(own_folders: Path) -> None:
    """The parts are those of the table, of the images that are there, cropped to a square."""
    folder = own_folders / "data" / "celeba"
    for name, colour in {"1.jpg": (250, 0, 0), "2.jpg": (0, 250, 0)}.items():
        write_picture(folder / "img_align_celeba" / name, colour, (178, 218), "RGB")
    (folder / "list_eval_partition.txt").write_text("1.jpg 0\n2.jpg 2\n3.jpg 0\n4.jpg 1\n")
    train, test = load_images("celeba"), load_images("celeba", "test", image_size=8)
    assert train.pixels.shape == (1, 3, 64, 64)
    assert test.pixels.shape == (1, 3, 8, 8)
    assert test.pixels[0, 1, 4, 4] > 240


def test_celeba_names_stay_in_their_folder(own_folders: Path) -> None:
    """A table cannot reach files elsewhere."""
    folder = own_folders / "data" / "celeba"
    write_picture(folder / "secret.jpg", 0)
    (folder / "img_align_celeba").mkdir()
    (folder / "list_eval_partition.txt").write_text("../secret.jpg 0\n")
    with pytest.raises(FileFormatError, match="none of the 1 images of 'train'"):
        load_images("celeba")


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((20, 4, 6), (18, 1, 4, 6)), ((20, 3, 4, 6), (18, 3, 4, 6)), ((20, 5, 6, 3), (18, 3, 5, 6))],
)
def test_npy(own_folders: Path, shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    """Bytes or numbers in [0, 1], channels first or last, split by rows."""
    values = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    path = own_folders / "a.npy"
    np.save(path, values)
    plain = load_images(path)
    assert plain.pixels.shape == expected
    assert len(load_images(path, "test")) == 2
    np.save(path, values / 255)
    assert (load_images(path).images() - plain.images()).abs().max() < 1e-6


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((20, 7)), r"\(n, H, W\).*found \(20, 7\)"),
        (np.zeros((20, 7, 7, 7)), "C = 1 or 3"),
        (np.full((20, 4, 4), 2.0), r"in \[0, 1\], found 2 to 2"),
        (np.full((20, 4, 4), np.nan), r"in \[0, 1\], found nan"),
        (np.zeros((20, 4, 4), np.int32), "bytes or floats.*found dtype int32"),
    ],
)
def test_bad_npy(own_folders: Path, array: np.ndarray, message: str) -> None:
    """Arrays that are no images are refused with the file's name."""
    path = own_folders / "bad.npy"
    np.save(path, array)
    with pytest.raises(FileFormatError, match=message):
        load_images(path)


def test_pickled_npy_is_refused(own_folders: Path) -> None:
    """An array of objects is not unpickled."""
    path = own_folders / "objects.npy"
    np.save(path, np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(FileFormatError, match=r"objects\.npy"):
        load_images(path)


def test_no_image(own_folders: Path) -> None:
    """Text named like an image, an empty folder, and too few images are named."""
    (own_folders / "p").mkdir()
    with pytest.raises(FileFormatError, match="no images for split 'train', found 0 in all"):
        load_images(own_folders / "p")
    (own_folders / "p" / "a.png").write_text("no image")
    with pytest.raises(FileFormatError, match=r"a\.png: cannot be read as an image"):
        load_images(own_folders / "p")
    with pytest.raises(FileFormatError, match="no images for split 'test', found 1 in all"):
        load_images(own_folders / "p", "test")


def test_huge_image_is_refused(own_folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An image of more pixels than PIL allows is an error, not a warning."""
    write_picture(own_folders / "p" / "a.png", 0, (40, 40))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(FileFormatError, match=r"a\.png.*exceeds limit"):
        load_images(own_folders / "p")


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("mnist", {"split": "dev"}, "'train' or 'test', found 'dev'"),
        ("mnist", {"image_size": 0}, "image_size"),
        ("mnist", {"limit": 0}, "limit"),
        ("nowhere", {}, r"a folder of images or an \.npy file, found 'nowhere'"),
    ],
)
def test_bad_arguments(source: str, options: dict[str, Any], message: str) -> None:
    """An argument out of range is named."""
    with pytest.raises(InputError, match=message):
        load_images(source, **options)


@pytest.mark.parametrize("pixels", [np.zeros((2, 4, 4), np.uint8), np.zeros((2, 1, 4, 4))])
def test_image_set_is_checked(pixels: np.ndarray) -> None:
    """Shape and dtype are checked when it is made."""
    with pytest.raises(InputError, match="uint8 or float32 of shape"):
        ImageSet(pixels, None, "bad")
    with pytest.raises(InputError, match=r"labels must have shape \(2,\)"):
        ImageSet(np.zeros((2, 1, 4, 4), np.uint8), np.zeros(3, np.int64), "bad")


def test_middle_square_is_resized(own_folders: Path) -> None:
    """Of an array the middle square is kept; halving it takes the mean of each four pixels."""
    pixels = np.zeros((20, 4, 6), np.uint8)
    pixels[:, :, 1:5] = [40, 40, 80, 80]
    np.save(own_folders / "a.npy", pixels)
    images = load_images(own_folders / "a.npy", image_size=4)
    np.testing.assert_array_equal(images.pixels[:, 0], pixels[:18, :, 1:5])
    halved = load_images(own_folders / "a.npy", image_size=2).pixels[0, 0]
    assert halved.dtype == np.uint8
    assert 40 <= halved[0, 0] < 50 < 70 < halved[0, 1] <= 80


def test_sixteen_bits_are_refused(own_folders: Path) -> None:
    """Pixels that bytes cannot hold are not cut off silently."""
    write_picture(own_folders / "p" / "a.png", 1000, mode="I;16")
    with pytest.raises(FileFormatError, match=r"a\.png: pixels must have 8 bits.*I;16"):
        load_images(own_folders / "p")


def test_truncated_image_is_named(own_folders: Path) -> None:
    """An image whose header is whole and whose pixels are not is an error."""
    path = own_folders / "p" / "a.png"
    path.parent.mkdir()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(FileFormatError, match=r"a\.png: cannot be read as an image"):
        load_images(own_folders / "p")


@pytest.mark.parametrize("table", ["1.jpg 3", "1.jpg", "1.jpg 0 0"])
def test_broken_celeba_table(own_folders: Path, table: str) -> None:
    """A line of the table that is no name and part is shown."""
    folder = own_folders / "data" / "celeba"
    (folder / "img_align_celeba").mkdir(parents=True)
    (folder / "list_eval_partition.txt").write_text(f"0.jpg 0\n{table}\n")
    with pytest.raises(FileFormatError, match=rf"list_eval_partition\.txt.*found '{table}'"):
        load_images("celeba")


def test_missing_celeba(own_folders: Path) -> None:
    """CelebA is not fetched; the error says what to put where."""
    with pytest.raises(FileFormatError, match=r"img_align_celeba/ is missing.*consent"):
        load_images("celeba", download=True)


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_the_given_data(data_folder: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """The data sets have their ten classes, and their files the sums that a download checks."""
    monkeypatch.setenv("GEOQUANT_DATA", str(data_folder))
    assert {part: len(load_images(name, part)) for part in ("train", "test")} == {
        "train": 60_000,
        "test": 10_000,
    }
    labels = load_images(name, "test").labels
    assert labels is not None
    assert set(labels.tolist()) == set(range(10))
    sums = datasets._MIRRORS[name].checksums
    for file, expected in sums.items():
        assert hashlib.sha256((data_folder / name / file).read_bytes()).hexdigest() == expected
