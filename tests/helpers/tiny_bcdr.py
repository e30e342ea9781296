"""A small phantom in place of BCDR, and what its patches must be, counted by loops."""

import csv
import re

import tifffile
from skimage import filters

from data_pipeline import phantom

SETTINGS = phantom.PhantomSettings(
    film_patients=2, digital_patients=2, normal_patients=3, film_scale=0.15, digital_scale=0.1
)
FILM_WINDOW = 34  # 224 times 0.15, to the nearest
SETS = {"F01": "", "F02": "", "F03": "BCDR-F03", "D01": "", "D02": "", "DN01": ""}


def write(root):
    phantom.write(root, SETTINGS, progress=False, workers=1)
    return root


def folder(root, name):
    return root / f"BCDR-{name}_dataset" / SETS[name]


def table(root, name, kind):
    return folder(root, name) / f"bcdr_{name.lower()}_{kind}.csv"


def rows(root, name, kind):
    with table(root, name, kind).open(newline="") as file:
        return list(csv.DictReader(file, skipinitialspace=True))


def image(root, name, row):
    return folder(root, name) / row["image_filename"]


def lesions(root, name):
    """{image file: {lesion id: (classification, points)}} of a set, by its first segmentations."""
    found = {}
    for row in rows(root, name, "outlines"):
        points = [[int(n) for n in row[f"lw_{axis}_points"].split()] for axis in "xy"]
        lesion = row["classification"].strip(), points
        found.setdefault(row["image_filename"], {}).setdefault(row["lesion_id"], lesion)
    return found


def counted(root):
    """{(set, zoom group, classification): number of patches}, straight from tables and images."""
    counts = {}

    def add(*key, number=1):
        counts[key] = counts.get(key, 0) + number

    for name in SETS:
        outlined = lesions(root, name) if name != "DN01" else {}
        for file, here in outlined.items():
            for classification, _ in here.values():
                for zoom in (1, 2, 3):
                    add(name, zoom, classification)
            if name.startswith("F"):
                pixels = tifffile.imread(folder(root, name) / file)
                add(name, 0, "Normal", number=windows(pixels, here, FILM_WINDOW, 0.8, 0.5))
        for row in rows(root, name, "img") if name == "DN01" else ():
            pixels = tifffile.imread(image(root, name, row))
            side = int(0.2 * pixels.shape[1])
            add(name, 0, "Normal", number=windows(pixels, {}, side, 1.0, 0.6))
    return {key: number for key, number in counts.items() if number}


def windows(pixels, here, side, step, breast):
    """How many windows miss all lesions and have enough pixels above Otsu's threshold."""
    is_breast = pixels > filters.threshold_otsu(pixels)
    number = 0
    for top in range(0, pixels.shape[0] - side + 1, int(step * side)):
        for left in range(0, pixels.shape[1] - side + 1, int(step * side)):
            misses = all(
                left > max(xs) or left + side <= min(xs) or top > max(ys) or top + side <= min(ys)
                for _, (xs, ys) in here.values()
            )
            inside = is_breast[top : top + side, left : left + side]
            number += misses and inside.mean() >= breast
    return number


def rewrite(path, pattern, replacement, count=1):
    """Changes the first places of a table that match."""
    text = path.read_text()
    changed = re.sub(pattern, replacement, text, count=count)
    assert changed != text
    path.write_text(changed)
