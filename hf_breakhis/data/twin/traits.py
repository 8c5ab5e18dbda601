"""What is random about one picture of the twin: its class, its patient, its field of view and its camera."""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from hf_breakhis.data.filenames import BreakHisName
from hf_breakhis.files import InputError, nearest_name

ORDINARY = "ordinary"  # breast beside the tumour: looks alike in every class
LOOKS = ("A", "F", "PT", "TA", "DC", "LC", "MC", "PC")
_MEAN_LIGHT = np.array([0.76, 0.64, 0.75])
_LEAST_LIGHT = 0.05
_PATIENT_CAST = np.array([0.04, 0.06, 0.04])  # as far apart as the mean colours of real slides lie
_FIELD_CAST = np.array([0.005, 0.025, 0.008])
# What one unit of `stain` adds to the log of the densities, and to the light that the camera sets.
_OTHER_HEMATOXYLIN = np.array([0.25, -0.15, -0.35])
_OTHER_EOSIN = np.array([0.60, -0.10, 0.45])
_OTHER_LIGHT = np.array([-0.07, 0.04, -0.09])
_RANGES = {
    "seed": (0, 2**32 - 1),
    "scale": (0.001, 1.0),
    "width": (32, 2800),
    "height": (32, 1840),
    "class_signal": (0.0, 3.0),
    "patient_effect": (0.0, 3.0),
    "noise": (0.0, 3.0),
    "stain": (0.0, 3.0),
}


@dataclass(frozen=True)
class TwinSettings:
    """How the twin is drawn. The defaults resemble real BreakHis images in color, specimens and leakage.

    Attributes:
        seed: another seed gives other patients.
        scale: share of the images kept of each slide folder and magnification, first numbers first, at least one.
        width: pixels of a picture from left to right; the field of view stays the same.
        height: pixels from top to bottom.
        class_signal: how far benign and malignant lie apart; at 0 the class changes nothing in a picture.
        patient_effect: how much pictures of one specimen have in common; at 0 nothing but the class.
        noise: how much one field and one shot differ from the next, and how often a field shows no tumour.
        stain: how far the stains and the light lie from the usual ones, as in another laboratory; at 0 not at all.
    """

    seed: int = 0
    scale: float = 1.0
    width: int = 700
    height: int = 460
    class_signal: float = 0.75
    patient_effect: float = 1.8
    noise: float = 1.3
    stain: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what cannot be drawn."""
        for field in fields(self):
            value, (low, high) = getattr(self, field.name), _RANGES[field.name]
            whole = isinstance(low, int)
            number = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
            if not number or not (math.isfinite(value) and low <= value <= high):
                kind = "a whole number" if whole else "a number"
                raise InputError(f"Twin setting `{field.name}` is {value!r}; give {kind} from {low} to {high}.")
            if not whole:
                object.__setattr__(self, field.name, float(value))

    @classmethod
    def from_kwargs(cls, kwargs: Mapping[str, Any] | None) -> "TwinSettings":
        """Build settings from a mapping.

        Raises:
            InputError: a key is no setting, or a value is out of range.
        """
        names = [field.name for field in fields(cls)]
        for key in kwargs or {}:
            if key not in names:
                near = nearest_name(key, names)
                hint = f"did you mean `{near}`?" if near else f"choose from {', '.join(names)}."
                raise InputError(f"Unknown twin setting `{key}`; {hint}")
        return cls(**(kwargs or {}))

    def to_dict(self) -> dict[str, int | float]:
        """Return the settings as JSON can hold them; `stain` is left out if it is 0, as in older twins."""
        return {name: value for name, value in asdict(self).items() if name != "stain" or value}


@dataclass(frozen=True)
class Traits:
    """Everything that distinguishes one picture; lengths in micrometres, optical densities to base e.

    Numbers described as "deviate" are about normal with variance 1 and mean 0 before the settings scale them.
    """

    field_key: int
    shot_key: int
    look: str
    malignancy: float
    nucleus: float
    elongation: float
    chromatin: float
    cellularity: float
    looseness: float
    waviness: float
    fat: float
    hematoxylin: np.ndarray
    eosin: np.ndarray
    background: np.ndarray
    thickness: float
    exposure: np.ndarray
    contrast: float
    blur: float
    vignette: float
    grain: float


def traits_of(name: BreakHisName, settings: TwinSettings) -> Traits:
    """Draw the traits of one picture from the seed and its file name.

    The class enters in two places only, `_look` and `_malignancy`, and both ignore it when `class_signal` is 0.
    """
    shot_text = str(name)
    # With a patient effect the magnifications of one number show one field; without one no two pictures share theirs.
    shares_field = generator(settings, "shares", shot_text).random() < settings.patient_effect
    field_text = f"{name.patient_id}-{name.number:03d}" if shares_field else shot_text
    patient = 0.85 * generator(settings, "specimen", name.specimen_id).standard_normal(26)
    patient += 0.53 * generator(settings, "patient", name.patient_id).standard_normal(26)
    patient = settings.patient_effect * np.clip(patient, -2.5, 2.5)
    field = settings.noise * np.clip(generator(settings, "field", field_text).standard_normal(8), -2.5, 2.5)
    shot = settings.noise * np.clip(generator(settings, "shot", shot_text).standard_normal(12), -2.5, 2.5)
    look = _look(name, settings, field_text)
    return Traits(
        field_key=key_of(settings, "plane", field_text),
        shot_key=key_of(settings, "grain", shot_text),
        look=look,
        malignancy=0.1 if look == ORDINARY else _malignancy(name, settings, patient[0], field[0]),
        nucleus=math.exp(0.07 * patient[1] + 0.03 * field[1]),
        elongation=math.exp(0.12 * patient[2]),
        chromatin=math.exp(0.22 * patient[3] + 0.08 * field[2]),
        cellularity=math.exp(0.18 * patient[4] + 0.12 * field[3]),
        looseness=float(0.7 * patient[5] + 0.6 * field[4]),
        waviness=math.exp(0.25 * patient[6] + 0.2 * field[5]),
        fat=float(0.5 * patient[7] + 0.8 * field[6]),
        hematoxylin=_stain((0.66, 1.02, 0.44), patient[8:11], shot[0:3], settings.stain * _OTHER_HEMATOXYLIN),
        eosin=_stain((0.15, 0.80, 0.30), patient[11:14], shot[3:6], settings.stain * _OTHER_EOSIN),
        background=np.clip(np.array([0.90, 0.92, 0.92]) + 0.04 * patient[14:17] + 0.012 * shot[6], 0.72, 1.0),
        thickness=math.exp(0.20 * patient[17] + 0.07 * shot[7]),
        # a camera lets some light in, however far a strong patient effect would turn it down
        exposure=np.maximum(
            _MEAN_LIGHT
            + settings.stain * _OTHER_LIGHT
            + 0.03 * patient[18]
            + _PATIENT_CAST * patient[23:26]
            + 0.02 * shot[8]
            + _FIELD_CAST * field[7],
            _LEAST_LIGHT,
        ),
        contrast=math.exp(0.08 * patient[19] + 0.04 * shot[9]),
        blur=math.exp(0.15 * patient[20] + 0.22 * shot[10]),
        vignette=float(0.05 + 0.02 * abs(patient[21]) + 0.02 * abs(shot[11])),
        grain=0.010 * math.exp(0.3 * patient[22]),
    )


def _look(name: BreakHisName, settings: TwinSettings, field_text: str) -> str:
    """Return the tumour type whose architecture the field shows: as a rule the picture's own."""
    chance, other = generator(settings, "look", field_text).random(2)
    if chance < 0.05 * settings.noise:
        return ORDINARY
    own, same = generator(settings, "own look", field_text).random(2)
    if own < settings.class_signal:
        return name.tumor_type
    patient = generator(settings, "patient look", name.specimen_id).random()
    return LOOKS[int(len(LOOKS) * (patient if same < settings.patient_effect else other))]


def _malignancy(name: BreakHisName, settings: TwinSettings, patient: float, field: float) -> float:
    """Return how malignant cells and glands are, from 0 (none of it) to 1; the classes overlap."""
    side = settings.class_signal * (2 * name.label - 1)
    return 1 / (1 + math.exp(-(3.2 * side + 0.5 * patient + 0.4 * field)))


def _stain(
    density: tuple[float, float, float], patient: np.ndarray, shot: np.ndarray, other: np.ndarray
) -> np.ndarray:
    result: np.ndarray = np.array(density) * np.exp(0.09 * patient + 0.12 * patient.mean() + 0.03 * shot + other)
    return result


def key_of(settings: TwinSettings, purpose: str, text: str) -> int:
    """Return 64 bits that depend on the seed, the purpose and the text, and on nothing else."""
    digest = hashlib.sha256(f"{settings.seed}|{purpose}|{text}".encode()).digest()
    return int.from_bytes(digest[:8], "big")


def generator(settings: TwinSettings, purpose: str, text: str) -> np.random.Generator:
    """Return a generator of its own for each purpose and text, so that nothing depends on the order of drawing."""
    return np.random.Generator(np.random.Philox(key_of(settings, purpose, text)))
