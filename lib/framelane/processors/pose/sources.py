"""Opening the pose model that the settings name; where it cannot be had, the embedded one works and says so."""

from __future__ import annotations

from framelane.errors import FramelaneError, UsageError
from framelane.models import store
from framelane.models.kept import kept
from framelane.perception.poses import Options, PoseEstimator, estimator_class, load_estimator
from framelane.processors.base import Context
from framelane.processors.opening import noted

EMBEDDED = "movenet"
_OF_MOVENET = ("resolution", "closer")
_LOWEST = 0.5  # of the threshold that starts a track: weaker people only continue one


def open_estimator(context: Context) -> PoseEstimator:
    """The pose model.

    Raises:
        UsageError: a file that the user must bring is missing.
        FramelaneError: not even the embedded model can be opened.
    """
    wanted: str = context.settings.pose.model
    if wanted != EMBEDDED and (given := sorted(context.own & {f"pose.{key}" for key in _OF_MOVENET})):
        context.warn(f"{', '.join(given)} {'has' if len(given) == 1 else 'have'} no effect with {wanted}.")
    estimator = _opened(wanted, context)
    if estimator.own_weights:
        context.models.append(estimator.own_weights)
    for model in context.models:
        model.setdefault("provider", estimator.provider)
    if estimator.notice:
        context.warn(estimator.notice)
    if estimator.downgrade:
        context.degrade(estimator.downgrade)
    return estimator


def _opened(name: str, context: Context) -> PoseEstimator:
    """The model, or said aloud the embedded one in its place."""
    before = len(context.models)
    try:
        return _load(name, context)
    except UsageError:
        raise
    except FramelaneError as error:
        if name == EMBEDDED:
            raise
        del context.models[before:]
        context.degrade(f"{EMBEDDED} is used instead of {name}. {error}")
        return _load(EMBEDDED, context)


def _load(name: str, context: Context) -> PoseEstimator:
    pose = context.settings.pose
    options = Options(
        device=context.device,
        threads=context.threads,
        lowest=_LOWEST * pose.detection_threshold,
        size=pose.model_size,
        resolution=pose.resolution,
        closer=pose.closer,
    )
    weights = estimator_class(name).catalogue_names(options)
    for each in weights:
        store.resolve(each, notify=context.warn)
        context.models.append(noted(each))
    if not weights:  # the user's own, which may change between two jobs
        return load_estimator(name, options)
    key = (name, options, *(store.digest(each) for each in weights))
    return kept("pose", key, lambda: load_estimator(name, options))
