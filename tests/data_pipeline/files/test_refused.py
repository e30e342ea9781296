"""Files that are no images are called what they are."""

import io
import time
import zipfile

import numpy as np
import pytest

from data_pipeline.errors import UnusableError
from data_pipeline.files.decode import decode
from data_pipeline.files.refused import explain


def archive():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("photo.png", b"")
    return buffer.getvalue()


def array():
    buffer = io.BytesIO()
    np.save(buffer, np.zeros((4, 4)))
    return buffer.getvalue()


def box(kind):
    """The start of a file of the ISO base media format."""
    return b"\0\0\0\x18ftyp" + kind + b"\0\0\0\0" + kind + b"mif1"


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2\nsize 12345\n"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="4" height="4"><path d="M0 0"/></svg>'
REFUSED = {
    "empty": (b"", "is empty; replace"),
    "zeros": (bytes(5000), "holds nothing but zeros, as after a transfer that failed; replace"),
    "lfs": (LFS, "is a pointer of Git LFS, not the file itself; get it with git lfs pull"),
    "annex": (
        b"/annex/objects/SHA256E-s9--ab.png\n",
        "git-annex, not the file itself; get it with",
    ),
    "annex link": (b"../.git/annex/objects/Xj/8G/SHA256E-s9--ab.png", "is a pointer of git-annex"),
    "page": (
        b"<!DOCTYPE html>\n<html><body>404</body></html>",
        "is a web page, not an image; down",
    ),
    "page with a mark": (b"\xef\xbb\xbf\n<HTML><HEAD></HEAD></HTML>", "is a web page"),
    "page with a comment": (b"<!-- saved -->\n<html lang=en>" + SVG + b"</html>", "is a web page"),
    "text transfer": (
        b"\x89PNG\n\x1a\n\0\0\0\rIHDR",
        "is a PNG that a transfer as text has changed",
    ),
    "svg": (SVG, "is an SVG drawing; draw it to a PNG"),
    "svg with a head": (b'<?xml version="1.0"?>\n<!-- by hand -->\n' + SVG, "is an SVG drawing"),
    "pdf": (b"%PDF-1.7\n%\xe2\xe3", "is a PDF; save its pages as PNG"),
    "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n", "is a PostScript drawing"),
    "heic": (box(b"heic"), "is a HEIC photo; convert it"),
    "avif": (box(b"avif"), "is an AVIF image; convert it"),
    "film": (box(b"isom"), "is a film; save single images"),
    "jpeg 2000": (b"\0\0\0\x0cjP  \r\n\x87\n", "is a JPEG 2000 image; convert it"),
    "jpeg xl": (b"\xff\x0a\xfa\x1f", "is a JPEG XL image; convert it"),
    "photoshop": (b"8BPS\0\1", "is a Photoshop document; convert it"),
    "gimp": (b"gimp xcf v011\0", "is a GIMP document; convert it"),
    "pam": (b"P7\nWIDTH 4\n", "is a PAM or PFM image; convert it"),
    "pfm": (b"Pf\n4 4\n-1.0\n", "is a PAM or PFM image; convert it"),
    "exr": (b"v/1\x01\2\0\0\0", "is an image of floating-point levels"),
    "nifti": (b"\x5c\1\0\0" + bytes(340) + b"n+1\0", "is a NIfTI volume; save one slice"),
    "nifti, packed": (b"\x1f\x8b\x08\0", "is a compressed archive; unpack it"),
    "nrrd": (b"NRRD0004\n", "is an NRRD volume; save one slice"),
    "matlab": (b"MATLAB 5.0 MAT-file, Platform: GLNXA64", "is a MATLAB file"),
    "fits": (b"SIMPLE  =                    T", "is a FITS file"),
    "hdf5": (b"\x89HDF\r\n\x1a\n", "is an HDF5 file"),
    "numpy": (array(), "is a NumPy array; convert it"),
    "zip": (archive(), "is a compressed archive; unpack it"),
    "macos": (b"\0\5\x16\7\0\2\0\0Mac OS X", "is a side file of macOS (AppleDouble)"),
    "text": (b"patient,view\n1,RCC\n", "is a text, not an image; leave it out"),
    "text with accents": ("número;vista\n".encode(), "is a text, not an image"),
    "else": (
        bytes(range(31, 0, -1)),
        "is not a PNG, JPEG, TIFF, PGM, PPM, PBM, BMP, WebP, GIF or",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_a_file_is(kind):
    data, problem = REFUSED[kind]
    with pytest.raises(UnusableError) as caught:
        decode(data)
    line = caught.value.about("photo.png")
    assert line.startswith("photo.png: ")
    assert problem in line
    assert "\n" not in line


@pytest.mark.parametrize("unit", [b"<!---->", b"<!-- -->\n", b"<?xml ?>", b"<a>", b"/annex", b" "])
def test_no_text_takes_long(unit):
    start = time.perf_counter()
    explain(b"<?xml version='1.0'?>" + unit * 20000)
    explain(unit * 20000)
    assert time.perf_counter() - start < 1
