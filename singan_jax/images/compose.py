"""Members that are more than one image file: several images, a mask, one image many times."""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from singan_jax.config import HYPERPARAMETERS, Config, ConfigError, validate
from singan_jax.errors import ImageError, InputError
from singan_jax.images.masks import marked
from singan_jax.images.read import Image


def together(name: str, source: str, images: Sequence[Image]) -> Image:
    """Several images that train one model.

    Each critic step sees one of them, drawn anew; the generator learns to reconstruct each from a
    noise map of its own. They may show the same layout or not, but must have one size. Gray ones
    beside colour ones train as colour.

    Args:
      name: of the member.
      source: what the images were read from, for messages and manifests.
      images: at least one, of one shape and bit depth.

    Returns:
      The member's image, with the provenance that all its images share.

    Raises:
      ImageError: there is no image, or one differs in shape or bit depth from the first.
    """
    if not images:
        raise ImageError(source, "has no image that can be used", "see the messages above")
    if len({image.shape[2] > 2 for image in images}) > 1:  # gray beside colour
        images = [image.in_colour() if image.shape[2] < 3 else image for image in images]
    first = images[0]
    for image in images:
        if (image.shape, image.bit_depth) != (first.shape, first.bit_depth):
            problem = f"is {_kind(image)}, and {first.source} is {_kind(first)}"
            remedy = "crop or resize one of them, or train them as members of their own"
            raise ImageError(image.source, problem, remedy)
    shared = set.intersection(*({*image.provenance.items()} for image in images))
    return Image(
        name,
        source,
        first.pixels,
        {key: value for key, value in first.provenance.items() if (key, value) in shared},
        tuple(image.pixels for image in images[1:]),
    )


def _kind(image: Image) -> str:
    height, width, channels = image.shape
    return f"{width}x{height} with {channels} channels of {image.bit_depth} bits"


def with_mask(image: Image, mask: Image) -> Image:
    """An image whose last channel is a mask, so that samples come with one.

    Args:
      image: of 1 or 3 channels.
      mask: of the same height and width; see `masks.marked`.

    Raises:
      ImageError: the sizes differ, or the mask marks all pixels or none.
    """
    if mask.shape[:2] != image.shape[:2]:
        (height, width, _), (rows, cols, _) = image.shape, mask.shape
        problem = f"is {cols}x{rows}, and its image {image.source} is {width}x{height}"
        raise ImageError(mask.source, problem, "make both of one size")
    top = np.iinfo(image.pixels.dtype).max
    layer = np.where(marked(mask.pixels, mask.source)[..., None], top, 0).astype(image.pixels.dtype)
    return dataclasses.replace(image, pixels=np.concatenate([image.pixels, layer], axis=-1))


@dataclasses.dataclass(frozen=True)
class Sweep:
    """Values of hyperparameters; every image is trained with every combination of them.

    All members of an image share its random numbers, so they differ by their settings alone.
    """

    values: Mapping[str, Sequence[float]] = dataclasses.field(default_factory=dict)

    @classmethod
    def parse(cls, texts: Sequence[str], config: Config) -> "Sweep":
        """Reads `name=value,value,...`.

        Raises:
          InputError: a text is not of that form, or repeats a name.
          ConfigError: a setting may not differ between members, or a value is out of range.
        """
        values: dict[str, tuple[float, ...]] = {}
        for text in texts:
            name, _, listed = text.partition("=")
            if name not in HYPERPARAMETERS:
                raise ConfigError(
                    f"`sweep`={text}: {name!r} cannot differ between members; choose one of "
                    f"{', '.join(HYPERPARAMETERS)}"
                )
            try:
                numbers = tuple(dict.fromkeys(float(number) for number in listed.split(",")))
            except ValueError:
                raise InputError(
                    f"`sweep`={text}: must be a name and numbers, such as lr_g=1e-4,5e-4"
                ) from None
            if name in values:
                raise InputError(f"`sweep`={text}: {name} is swept twice; list all its values once")
            for number in numbers:
                validate(Config(**{**config.to_dict(), name: number}))
            values[name] = numbers
        return cls(values)

    def names(self, name: str) -> list[str]:
        """The names of the members made from an image called `name`."""
        return [self._named(name, settings) for settings in self._settings()]

    def members(self, image: Image) -> list[Image]:
        """An image once for each combination; named `<name>_<setting>=<value>...`."""
        return [
            dataclasses.replace(image, name=self._named(image.name, settings), settings=settings)
            for settings in self._settings()
        ]

    def _settings(self) -> Iterator[dict[str, float]]:
        for values in itertools.product(*self.values.values()):
            yield dict(zip(self.values, values, strict=True))

    @staticmethod
    def _named(name: str, settings: Mapping[str, float]) -> str:
        return name + _suffix(settings)


def image_name(name: str, settings: Mapping[str, float]) -> str:
    """The name of the image that a member with these settings was made from."""
    return name.removesuffix(_suffix(settings))


def _suffix(settings: Mapping[str, float]) -> str:
    return "".join(f"_{key}={_shortest(value)}" for key, value in settings.items())


def _shortest(value: float) -> str:
    """A number in few digits, but enough to tell it from every other."""
    return f"{value:g}" if float(f"{value:g}") == value else repr(value)
