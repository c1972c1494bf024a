"""A study of milliseconds: the models' names tell the fake trainer how to behave."""

from sweeps.hardware import Hardware
from sweeps.nfnet_shape import NFNetShape
from sweeps.study import Model, Study
from sweeps.trial import DataSpec, RecipeSpec, ScheduleSpec

_SHAPE = NFNetShape(stage_depths=(1, 1), stage_widths=(16, 32), stage_strides=(1, 2), group_width=8)


def make_study(*names: str, epochs: tuple[float, ...] = (1.0,), seeds: int = 1, data: str = "fake") -> Study:
    """Returns a grid of models x epochs x seeds at one learning rate."""
    return Study(
        name="small",
        title="a study for tests",
        models=tuple(Model(name=name, family="nfnet", shape=_SHAPE) for name in names),
        epochs=epochs,
        batch_images=(8,),
        peak_lrs=(0.1,),
        seeds=tuple(range(seeds)),
        data=DataSpec(
            name=data, image_px=16, channels=3, classes=8, images_per_epoch=64, held_out_images=8, selection_images=8
        ),
        schedule=ScheduleSpec(name="cosine", warmup_steps=1),
        recipe=RecipeSpec(),
        hardware=Hardware(name="imagined", flops_per_core_hour=1e6),
    )
