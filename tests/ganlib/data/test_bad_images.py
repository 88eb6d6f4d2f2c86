"""One image file to one picture: every form that must be right, and every fault that must be told."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ganlib.data import Preparation, prepare_dataset
from ganlib.data.pixels import decode
from ganlib.data.sources import BadRecordError, open_source
from ganlib.errors import UserError

from .pictures import as_folder, encoded, noise, pngs, same


def png_claiming(width: int, height: int) -> bytes:
    """A PNG of some bytes whose header says this size."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = b"IDAT" + zlib.compress(bytes(1000))
    end = b"IEND"
    chunks = [
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
        for chunk in (header, body, end)
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def bad_files() -> dict[str, tuple[bytes, str]]:
    jpeg = encoded(noise(0, (64, 64)), "JPEG")
    png = encoded(noise(0, (64, 64)))
    return {
        "cut.jpg": (jpeg[: len(jpeg) // 2], "broken or cut short (image file is truncated"),
        "cut.png": (png[: len(png) // 2], "broken or cut short"),
        "header only.jpg": (jpeg[:20], "not a JPEG, PNG, BMP, WebP or GIF image"),
        "zero.jpg": (b"", "empty file"),
        "text.jpg": (b"this is no picture\n" * 50, "not a JPEG, PNG, BMP, WebP or GIF image"),
        "script.jpg": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a JPEG, PNG, BMP, WebP or GIF image"),
        "bomb.png": (png_claiming(50_000, 50_000), "more pixels than Pillow's limit"),
        "large.png": (encoded(Image.new("1", (10_000, 9_000))), "more pixels than Pillow's limit"),
    }


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_each_bad_file_is_a_bad_record_with_its_reason_and_no_path_or_address(tmp_path: Path) -> None:
    bad = bad_files()
    as_folder(tmp_path, {name: data for name, (data, _) in bad.items()} | pngs("good.png"))
    (tmp_path / "nothing.png").symlink_to("absent")
    bad["nothing.png"] = b"", "cannot be read: No such file or directory"
    source = open_source(tmp_path)
    assert set(source.names) == {*bad, "good.png"}
    assert source.faults == []
    for index, name in enumerate(source.names):
        if name == "good.png":
            assert same(source.read(index).image, noise(0))
            continue
        with pytest.raises(BadRecordError) as caught:
            source.read(index)
        assert bad[name][1] in str(caught.value), name
        assert "0x" not in str(caught.value)
        assert str(tmp_path) not in str(caught.value)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_bad_files_are_left_out_of_a_dataset_which_says_why(tmp_path: Path) -> None:
    bad = bad_files()
    good = {f"good {seed:02d}.png": noise(seed, (8, 8)) for seed in range(40)}
    files = {name: data for name, (data, _) in bad.items()} | {name: encoded(image) for name, image in good.items()}
    source = open_source(as_folder(tmp_path / "pictures", files))
    with pytest.raises(UserError, match=f"pictures: {len(bad)} of {len(bad) + 40} records cannot be used, max_bad"):
        prepare_dataset(source, Preparation(size=8, max_bad=0.1), tmp_path / "store", "x")
    assert list((tmp_path / "store").iterdir()) == []
    dataset = prepare_dataset(source, Preparation(size=8, max_bad=0.2, test_share=0), tmp_path / "store", "x")
    manifest = dataset.manifest
    assert (manifest.counts, manifest.skipped_count) == ({"train": 40, "test": 0}, len(bad))
    assert [one.record for one in manifest.skipped] == sorted(bad)
    for one in manifest.skipped:
        assert bad[one.record][1] in one.reason, one.record
    split = dataset.split("train")
    assert split.names == list(good)
    np.testing.assert_array_equal(split.images, np.stack([np.asarray(image) for image in good.values()]))


def test_a_bomb_is_told_by_its_header_alone() -> None:
    # 50,000 x 50,000 x 3 bytes would be 7.5 GB.
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(BadRecordError, match="more pixels"):
        decode(png_claiming(50_000, 50_000))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB


def test_every_cut_of_a_picture_is_told() -> None:
    for form in ("JPEG", "PNG", "GIF", "WEBP", "BMP"):
        whole = encoded(noise(0, (24, 24)), form)
        for length in range(0, int(len(whole) * 0.9), 7):
            with pytest.raises(BadRecordError):
                decode(whole[:length])


def test_every_lossless_form_gives_its_pixels() -> None:
    image = noise(0, (8, 9))
    for form, options in {"PNG": {}, "BMP": {}, "WEBP": {"lossless": True}}.items():
        assert same(decode(encoded(image, form, **options)), image)
    palette = image.quantize(16)
    assert same(decode(encoded(palette, "GIF")), palette.convert("RGB"))
    assert same(decode(encoded(palette)), palette.convert("RGB"))


def test_a_jpeg_is_what_pillow_makes_of_it_at_full_size(tmp_path: Path) -> None:
    for name, image in (("grey", noise(1, (70, 50)).convert("L")), ("colour", noise(1, (70, 50)))):
        image.save(tmp_path / f"{name}.jpg", quality=80)
        picture = decode((tmp_path / f"{name}.jpg").read_bytes())
        assert picture.mode == image.mode
        assert same(picture, Image.open(tmp_path / f"{name}.jpg"))


def test_the_first_frame_of_an_animation_is_taken() -> None:
    frames = [Image.new("L", (8, 8), level) for level in (10, 200)]
    picture = decode(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert set(np.asarray(picture).ravel()) == {10}


def test_all_eight_orientations_are_set_upright() -> None:
    #  A B
    #  C D     as 2x1 blocks of 16 pixels, which JPEG keeps apart: the scene, upright
    blocks = np.array([[40, 90], [150, 210]], np.uint8)
    upright = blocks.repeat(16, 0).repeat(32, 1)
    # How the scene lies in the file, by EXIF's tag 274: what row 0 and column 0 of the file are in the scene.
    stored = {
        1: upright,  # top, left
        2: upright[:, ::-1],  # top, right
        3: upright[::-1, ::-1],  # bottom, right
        4: upright[::-1],  # bottom, left
        5: upright.T,  # left, top
        6: np.rot90(upright, 1),  # right, top
        7: np.rot90(upright, 2).T,  # right, bottom
        8: np.rot90(upright, -1),  # left, bottom
    }
    for orientation, pixels in stored.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        for form, options in (("JPEG", {"quality": 100}), ("PNG", {}), ("WEBP", {"lossless": True})):
            picture = decode(encoded(Image.fromarray(np.ascontiguousarray(pixels)), form, exif=exif, **options))
            assert picture.size == (64, 32), (orientation, form)
            found = np.asarray(picture.convert("L")).astype(int)
            np.testing.assert_allclose(found, upright, atol=2, err_msg=f"{orientation} {form}")


def test_rgba_lies_on_white() -> None:
    pixels = np.zeros((1, 3, 4), np.uint8)
    pixels[0, :, 3] = (0, 128, 255)
    picture = decode(encoded(Image.fromarray(pixels)))
    assert picture.mode == "RGB"
    assert np.asarray(picture)[0, :, 0].tolist() == [255, 127, 0]


def test_grey_with_alpha_lies_on_white() -> None:
    pixels = np.array([[[100, 0], [100, 255]]], np.uint8)
    assert np.asarray(decode(encoded(Image.fromarray(pixels, "LA"))))[0].tolist() == [[255] * 3, [100] * 3]


def test_a_palette_with_transparency_lies_on_white() -> None:
    palette = Image.new("P", (3, 1))
    palette.putpalette([10, 20, 30, 200, 100, 50, 0, 0, 0])
    palette.putdata([0, 1, 2])
    for form in ("PNG", "GIF"):
        one = decode(encoded(palette, form, transparency=1))
        assert np.asarray(one)[0].tolist() == [[10, 20, 30], [255, 255, 255], [0, 0, 0]]
    # PNG's palette may be half transparent: 0.5 * (200, 100, 50) + 0.5 * 255
    half = np.asarray(decode(encoded(palette, transparency=bytes([255, 128, 255]))))[0, 1]
    np.testing.assert_allclose(half, [227, 177, 152], atol=1)


def test_a_transparent_colour_is_white() -> None:
    picture = decode(encoded(Image.fromarray(np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8)), transparency=(1, 2, 3)))
    assert np.asarray(picture)[0].tolist() == [[255, 255, 255], [4, 5, 6]]


def test_sixteen_bits_are_scaled_to_eight() -> None:
    levels = np.array([[0, 257, 25700, 65535]], np.uint16)
    picture = decode(encoded(Image.fromarray(levels)))
    assert picture.mode == "L"
    assert np.asarray(picture).tolist() == [[0, 1, 100, 255]]


def test_sixteen_bits_of_colour_are_scaled_to_eight() -> None:
    """By hand, for Pillow writes none: (0, 257, 25700) and (65535, 257, 0), in a PNG of type 2 and depth 16."""
    rows = b"\0" + struct.pack(">6H", 0, 257, 25700, 65535, 257, 0)
    chunks = [b"IHDR" + struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0), b"IDAT" + zlib.compress(rows), b"IEND"]
    data = b"".join(
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in chunks
    )
    assert np.asarray(decode(b"\x89PNG\r\n\x1a\n" + data))[0].tolist() == [[0, 1, 100], [255, 1, 0]]


def test_one_bit_is_black_and_white() -> None:
    bits = Image.fromarray(np.array([[0, 255, 0]], np.uint8)).convert("1")
    for form in ("PNG", "BMP"):
        picture = decode(encoded(bits, form))
        assert (picture.mode, np.asarray(picture).tolist()) == ("L", [[0, 255, 0]])


def test_cmyk_is_colour(tmp_path: Path) -> None:
    # Without ink, with cyan, magenta, yellow, black: what they leave of the light.
    inks = [(0, 0, 0, 0), (255, 0, 0, 0), (0, 255, 0, 0), (0, 0, 255, 0), (0, 0, 0, 255)]
    light = [(255, 255, 255), (0, 255, 255), (255, 0, 255), (255, 255, 0), (0, 0, 0)]
    for ink, colour in zip(inks, light, strict=True):
        picture = decode(encoded(Image.new("CMYK", (16, 16), ink), "JPEG", quality=100))
        assert picture.mode == "RGB"
        np.testing.assert_allclose(np.asarray(picture)[8, 8], colour, atol=3)


def test_noise_is_never_more_than_a_bad_record() -> None:
    whole = [encoded(noise(0, (20, 20)), form) for form in ("JPEG", "PNG", "GIF", "WEBP", "BMP")]
    random = np.random.default_rng(0)
    for number in range(300):
        data = bytearray(whole[number % len(whole)])
        for place in random.integers(0, len(data), 3):
            data[place] = random.integers(256)
        try:
            assert decode(bytes(data)).mode in ("L", "RGB")
        except BadRecordError:
            continue
    with pytest.raises(BadRecordError):
        decode(os.urandom(1000))
