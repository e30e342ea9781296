"""A page of pictures of a fleet: each image, its reconstruction and samples, scale by scale."""

import base64
import html
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from data_pipeline.files.writing import to_json, write_atomically
from singan_jax import runtime
from singan_jax.images import pictures
from singan_jax.images.read import Image, png_bytes
from singan_jax.samples import sample
from singan_jax.samples.trained import TrainedFleet, sampling_key
from singan_jax.scale.pyramid import build_pyramid
from singan_jax.workdir.record import Member

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 1.5rem auto; max-width: 62rem;
       padding: 0 1rem; color: #222; background: #fff }
section { margin: 2.5rem 0 }
.scale { display: grid; grid-template-columns: 6rem repeat(auto-fill, minmax(5.5rem, 1fr));
         gap: .4rem; align-items: end; margin: .4rem 0 }
figure { margin: 0 }
figcaption, .label, footer { color: #666; font-size: .8rem; line-height: 1.3 }
img { width: 100%; image-rendering: pixelated; display: block }
pre { white-space: pre-wrap; overflow-wrap: anywhere }
"""


class _Stage(NamedTuple):
    """One member (its first image) at one scale; images are (h, w, C) in [-1, 1]."""

    real: np.ndarray
    rec: np.ndarray
    samples: np.ndarray  # (count, h, w, C)


def write_page(
    path: str | pathlib.Path,
    fleet: TrainedFleet,
    images: Sequence[Image],
    *,
    title: str,
    num_samples: int = 4,
    seed: int = 0,
) -> None:
    """Writes one self-contained HTML file.

    Args:
      path: the file to write.
      fleet: trained.
      images: those the fleet was trained on; members whose image is missing are left out.
      title: heading of the page.
      num_samples: samples per member and scale.
      seed: of the samples.
    """
    given = {image.digest: image for image in images}
    sections = []
    for group, members in fleet.groups.items():
        shown = [m for m in members if m in fleet.members and m.digest in given]
        if shown:
            pictures = [given[member.digest] for member in shown]
            for member, stages in zip(
                shown, _stages(fleet, group, shown, pictures, num_samples, seed), strict=True
            ):
                sections.append(_section(member, stages))
    record = to_json({"config": fleet.config.to_dict(), **runtime.provenance()}, indent=1)
    text = f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(title)}</title><style>{_STYLE}</style></head><body>
<h1>{html.escape(title)}</h1>
<p>Each row is a scale, coarsest first: the image at that scale, what the generators make of the
fixed noise that stands for it, and what they make of new noise.</p>
{"".join(sections)}
<footer><pre>{html.escape(record)}</pre></footer></body></html>
"""
    write_atomically(pathlib.Path(path), text)


def _stages(
    fleet: TrainedFleet,
    group: int,
    members: Sequence[Member],
    images: Sequence[Image],
    count: int,
    seed: int,
) -> list[list[_Stage]]:
    """Every finished scale of each member."""
    bucket, scales = fleet.bucket(members[0]), fleet.scales(group)
    index = np.array([member.index for member in members])
    frozen = [jax.tree.map(lambda x: x[index], scale.frozen) for scale in scales]
    keys = jnp.stack([sampling_key(jax.random.key(seed), member) for member in members])
    found: list[list[_Stage]] = [[] for _ in members]
    reals = [
        build_pyramid(jnp.asarray(i.to_float()), bucket.pyramid, uint8=fleet.config.uint8_resize)
        for i in images
    ]
    for n, scale in enumerate(scales):
        plan = sample.SamplePlan(fleet.config, bucket.pyramid, bucket.channels, n + 1)
        samples = sample.sample_all(plan, frozen, keys, count)
        for m, place in enumerate(index):
            found[m].append(_Stage(np.asarray(reals[m][n][0]), scale.rec[place, 0], samples[m]))
    return found


def _section(member: Member, stages: Sequence[_Stage]) -> str:
    rows = []
    for n, stage in enumerate(stages):
        height, width, _ = stage.real.shape
        rmse = 127.5 * float(np.sqrt(np.square(stage.rec - stage.real).mean()))
        label = f"scale {n}<br>{width}&times;{height}<br>error {rmse:.1f} of 255"
        figures = [
            _figure(stage.real, "image"),
            _figure(stage.rec, "reconstruction"),
            *(_figure(image, f"sample {k}") for k, image in enumerate(stage.samples)),
        ]
        rows.append(
            f'<div class="scale"><div class="label">{label}</div>{"".join(figures)}</div>\n'
        )
    name = html.escape(member.name)
    return f"<section><h2>{name}</h2>\n{''.join(rows)}</section>\n"


def _figure(image: np.ndarray, caption: str) -> str:
    data = base64.b64encode(png_bytes(pictures.to_rgb8(image))).decode()
    return (
        f'<figure><img alt="{caption}" src="data:image/png;base64,{data}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )
