"""Folders of image files: what is found, how it is read, and what is wrong with it."""

import io
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ganlib.data import Preparation, open_source, prepare_dataset
from ganlib.data.pixels import decode, fit
from ganlib.data.sources import BadRecordError
from ganlib.errors import UserError

from .conftest import SHARED, SavePicture


def encoded(image: Image.Image, form: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def test_flat_folder_has_no_labels_and_is_in_the_order_of_names(save_picture: SavePicture, tmp_path: Path) -> None:
    for seed, name in enumerate(["b.png", "a.bmp", "C.PNG", "10.webp", "9.gif", "notes.txt.png", ".hidden.png"]):
        save_picture(name, seed)
    (tmp_path / "pictures" / "captions.csv").write_text("a,b")
    source = open_source(tmp_path / "pictures")
    assert source.kind == "folder"
    assert source.names == ["10.webp", "9.gif", "C.PNG", "a.bmp", "b.png", "notes.txt.png"]
    assert source.labels is None
    assert source.class_names is None


def test_sub_folders_are_classes_in_the_order_of_their_names(save_picture: SavePicture, tmp_path: Path) -> None:
    for seed, name in enumerate(["dog/b/1.png", "cat/2.png", "dog/1.png", "ant/x.png", ".git/1.png"]):
        save_picture(name, seed)
    (tmp_path / "pictures" / "empty").mkdir()
    source = open_source(tmp_path / "pictures")
    assert source.names == ["ant/x.png", "cat/2.png", "dog/1.png", "dog/b/1.png"]
    assert source.class_names == ["ant", "cat", "dog"]
    np.testing.assert_array_equal(source.labels, [0, 1, 2, 2])

    dataset = prepare_dataset(source, Preparation(size=8, channels=3, test_share=0), tmp_path, "animals")
    train = dataset.split("train")
    assert train.names == source.names
    np.testing.assert_array_equal(train.labels, [0, 1, 2, 2])
    assert dataset.manifest.class_counts == {"train": [1, 1, 2], "test": [0, 0, 0]}
    assert len(dataset.split("test")) == 0
    assert dataset.split("test").images.shape == (0, 8, 8, 3)


def test_one_sub_folder_is_no_class(save_picture: SavePicture, tmp_path: Path) -> None:
    save_picture("images/1.png", 1)
    assert open_source(tmp_path / "pictures").labels is None


def test_every_lossless_form_gives_its_pixels() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 8, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    for form, options in {"PNG": {}, "BMP": {}, "WEBP": {"lossless": True}}.items():
        np.testing.assert_array_equal(np.asarray(decode(encoded(image, form, **options))), pixels)
    palette = image.quantize(16)
    np.testing.assert_array_equal(np.asarray(decode(encoded(palette, "GIF"))), np.asarray(palette.convert("RGB")))


def test_the_first_frame_of_an_animation_is_taken() -> None:
    frames = [Image.new("L", (8, 8), level) for level in (10, 200)]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert fit(decode(data), 8, 1).max() == 10


def test_exif_orientation_is_applied() -> None:
    pixels = np.zeros((8, 16, 3), np.uint8)
    pixels[:, :8] = 255  # white on the left
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise: what was left is on top
    upright = np.asarray(decode(encoded(Image.fromarray(pixels), "JPEG", exif=exif, quality=100)))
    assert upright.shape == (16, 8, 3)
    assert upright[:8].min() == 255
    assert upright[8:].max() == 0


def test_transparency_is_on_white() -> None:
    pixels = np.zeros((1, 3, 4), np.uint8)
    pixels[0, :, 3] = (0, 128, 255)
    np.testing.assert_array_equal(np.asarray(decode(encoded(Image.fromarray(pixels), "PNG")))[0, :, 0], [255, 127, 0])


def test_sixteen_bits_are_scaled_to_eight() -> None:
    levels = np.array([[0, 257, 25700, 65535]], np.uint16)
    np.testing.assert_array_equal(np.asarray(decode(encoded(Image.fromarray(levels), "PNG"))), [[0, 1, 100, 255]])


def test_grey_is_luma_and_colour_from_grey_is_three_times_the_same() -> None:
    colours = np.zeros((8, 8, 3), np.uint8)
    colours[..., :] = (200, 100, 50)
    # Rec. 601: 0.299 * 200 + 0.587 * 100 + 0.114 * 50 = 124.2
    assert (fit(Image.fromarray(colours), 8, 1) == 124).all()
    grey = np.arange(64, dtype=np.uint8).reshape(8, 8)
    np.testing.assert_array_equal(fit(Image.fromarray(grey), 8, 3), np.stack([grey] * 3, axis=-1))


def test_an_image_that_fits_is_cropped_but_not_resampled() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 13, 3), dtype=np.uint8)
    np.testing.assert_array_equal(fit(Image.fromarray(pixels), 8, 3), pixels[:, 2:10])


def test_fit_is_resize_then_centre_crop() -> None:
    wide = Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 48, 3), dtype=np.uint8))
    whole = np.asarray(wide.resize((32, 16), Image.Resampling.LANCZOS))
    np.testing.assert_array_equal(fit(wide, 16, 3), whole[:, 8:24])
    # Upright, Pillow takes its two passes, each rounded to 8 bits, in another order for the square than for the whole.
    y, x = np.mgrid[:48, :24]
    tall = Image.fromarray((127 + 100 * np.sin(x / 7) * np.cos(y / 5)).astype(np.uint8))
    whole = np.asarray(tall.resize((16, 32), Image.Resampling.LANCZOS))
    np.testing.assert_allclose(fit(tall, 16, 1)[..., 0], whole[8:24].astype(int), atol=2)


def test_halving_a_ramp_averages_its_pairs() -> None:
    ramp = np.tile(np.arange(0, 128, 2, dtype=np.uint8), (64, 1))
    halved = fit(Image.fromarray(ramp), 32, 1)[..., 0]
    # A symmetric filter keeps a straight line: pixel i stands where source 2i + 0.5 does. Its reach is cut at the rim.
    np.testing.assert_array_equal(halved[:, 3:-3], np.tile(np.arange(13, 117, 4), (32, 1)))


def test_a_strip_of_any_length_costs_only_its_square() -> None:
    strip = Image.new("L", (60_000, 1), 77)
    assert (fit(strip, 1024, 3) == 77).all()


def broken_files() -> dict[str, tuple[bytes, str]]:
    whole = encoded(Image.effect_noise((64, 64), 50), "JPEG")
    png = encoded(Image.effect_noise((64, 64), 50), "PNG")
    header = b"IHDR" + struct.pack(">IIBBBBB", 30_000, 30_000, 8, 0, 0, 0, 0)
    bomb = png[:8] + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header)) + png[33:]
    return {
        "cut.jpg": (whole[: len(whole) // 2], "broken or cut short (image file is truncated"),
        "cut.png": (png[: len(png) // 2], "broken or cut short"),
        "zero.jpg": (b"", "empty file"),
        "text.jpg": (b"this is no picture\n" * 50, "not a JPEG, PNG, BMP, WebP or GIF image"),
        "script.jpg": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a JPEG, PNG, BMP, WebP or GIF image"),
        "bomb.png": (bomb, "more pixels than Pillow's limit"),
        "large.png": (encoded(Image.new("1", (10_000, 9_000)), "PNG"), "more pixels than Pillow's limit"),
    }


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_broken_files_have_a_reason_without_paths_or_addresses() -> None:
    for name, (data, reason) in broken_files().items():
        with pytest.raises(BadRecordError) as caught:
            decode(data)
        assert reason in str(caught.value), name
        assert "0x" not in str(caught.value)


def test_bad_records_are_skipped_and_named_up_to_max_bad(save_picture: SavePicture, tmp_path: Path) -> None:
    for seed in range(20):
        save_picture(f"{seed}.png", seed)
    broken = broken_files()
    for name, (data, _) in broken.items():
        (tmp_path / "pictures" / name).write_bytes(data)
    source = open_source(tmp_path / "pictures")  # 7 of 27 are bad: 0.2593

    with pytest.raises(UserError, match=r"pictures: \d of 27 images cannot be used.*max_bad.*share of 0.25: .*\(.*\)"):
        prepare_dataset(source, Preparation(size=8, channels=3, max_bad=0.25), tmp_path / "out", "x")
    assert not list((tmp_path / "out").iterdir())

    dataset = prepare_dataset(source, Preparation(size=8, channels=3, max_bad=0.26), tmp_path / "out", "x")
    skipped = {record.record: record.reason for record in dataset.manifest.skipped}
    assert skipped.keys() == broken.keys()
    assert all(reason in skipped[name] for name, (_, reason) in broken.items())
    kept = dataset.split("train").names + dataset.split("test").names
    assert sorted(kept) == sorted(f"{seed}.png" for seed in range(20))
    assert sum(dataset.manifest.counts.values()) == 20


def test_max_bad_is_of_all_records_and_by_default_one_in_a_hundred(save_picture: SavePicture, tmp_path: Path) -> None:
    for seed in range(99):
        save_picture(f"{seed}.png", seed)
    (tmp_path / "pictures" / "bad.png").touch()
    folder, preparation = tmp_path / "pictures", Preparation(size=8, channels=1)
    dataset = prepare_dataset(open_source(folder), preparation, tmp_path, "x")
    assert [(bad.record, bad.reason) for bad in dataset.manifest.skipped] == [("bad.png", "empty file")]
    (folder / "worse.png").touch()
    with pytest.raises(UserError, match=r"2 of 101 images cannot be used.*bad.png \(empty file\), worse.png"):
        prepare_dataset(open_source(folder), preparation, tmp_path, "x")


def test_folders_that_cannot_be_read_as_images_are_named(save_picture: SavePicture, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=f"{tmp_path}/empty holds no images"):
        open_source(tmp_path / "empty")
    (tmp_path / "empty" / "readme.txt").touch()
    with pytest.raises(UserError, match=f"{tmp_path}/empty holds no images"):
        open_source(tmp_path / "empty")
    save_picture("cat/1.png", 1)
    save_picture("stray.png", 1)
    with pytest.raises(UserError, match=r"both itself \(stray.png\) and in sub-folders \(cat\)"):
        open_source(tmp_path / "pictures")


def test_a_name_that_is_no_text_is_kept_readable(save_picture: SavePicture, tmp_path: Path) -> None:
    path = save_picture("a.png", 1)
    path.rename(path.with_name(b"\xff.png".decode("utf-8", "surrogateescape")))
    source = open_source(path.parent)
    dataset = prepare_dataset(source, Preparation(size=8, channels=3, test_share=0), tmp_path, "x")
    assert dataset.split("train").names == [r"\xff.png"]


def test_digest_follows_names_and_bytes(save_picture: SavePicture) -> None:
    path = save_picture("a.png", 1)
    save_picture("b.png", 2)

    def digest() -> str:
        return open_source(path.parent).digest()

    first = digest()
    assert digest() == first
    path.rename(path.with_name("c.png"))
    renamed = digest()
    assert renamed != first
    save_picture("c.png", 3)
    assert digest() not in (first, renamed)


def test_real_avatars_equal_pillow_by_hand(tmp_path: Path) -> None:
    archive = SHARED / "avatars.zip"
    if not archive.is_file():
        pytest.skip(f"no {archive}")
    with zipfile.ZipFile(archive) as file:
        names = [name for name in sorted(file.namelist()) if name.endswith(".jpg")][:50]
        file.extractall(tmp_path, names)
    dataset = prepare_dataset(
        open_source(tmp_path / "images"), Preparation(size=64, channels=3, test_share=0), tmp_path, "avatars"
    )
    by_hand = [Image.open(tmp_path / name).resize((64, 64), Image.Resampling.LANCZOS) for name in names]
    np.testing.assert_array_equal(dataset.split("train").images, np.stack([np.asarray(image) for image in by_hand]))
