"""Decodes and augments JPEGs as others do, a turn for each line on stdin: run by input_pipeline.py, in another Python.

A turn is answered by a line with its processor seconds. The first line of the answer is the library's version.
"""

import os
import pickle
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = ""
PX = 224


def torchvision_turn(files: list[bytes]) -> tuple[str, Callable[[], None]]:
    """Returns torchvision's transforms on Pillow images, as its reference training composes them."""
    import io

    import torch
    import torchvision
    from PIL import Image
    from torchvision import transforms

    torch.set_num_threads(1)
    augment = transforms.Compose(
        [transforms.RandomResizedCrop(PX), transforms.RandomHorizontalFlip(), transforms.PILToTensor()]
    )

    def turn() -> None:
        for file in files:
            augment(Image.open(io.BytesIO(file)).convert("RGB"))

    return f"torchvision {torchvision.__version__}", turn


def tf_data_turn(files: list[bytes], *, antialias: bool) -> tuple[str, Callable[[], None]]:
    """Returns tf.data with decode_and_crop_jpeg, as ImageNet pipelines in TensorFlow do it."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)

    def augmented(file: tf.Tensor) -> tf.Tensor:
        begin, size, _ = tf.image.sample_distorted_bounding_box(
            tf.io.extract_jpeg_shape(file),
            tf.zeros((1, 0, 4)),
            min_object_covered=0.0,
            aspect_ratio_range=(3 / 4, 4 / 3),
            area_range=(0.08, 1.0),
            max_attempts=10,
            use_image_if_no_bounding_boxes=True,
        )
        image = tf.image.decode_and_crop_jpeg(file, tf.concat([begin[:2], size[:2]], 0), channels=3)
        image = tf.image.random_flip_left_right(tf.image.resize(image, (PX, PX), antialias=antialias))
        return tf.cast(image, tf.uint8)

    images = tf.data.Dataset.from_tensor_slices(files).map(augmented, num_parallel_calls=1).prefetch(1)

    def turn() -> None:
        for _ in images:
            pass

    return f"tensorflow {tf.__version__}", turn


def main(rival: str, jpegs: Path) -> None:
    """Answers turns until stdin ends."""
    files: list[bytes] = pickle.loads(jpegs.read_bytes())
    makers = {
        "torchvision": lambda: torchvision_turn(files),
        "tf_data": lambda: tf_data_turn(files, antialias=False),
        "tf_data_antialias": lambda: tf_data_turn(files, antialias=True),
    }
    version, turn = makers[rival]()
    turn()  # what is traced and loaded at first use
    print(version, flush=True)
    for _ in sys.stdin:
        started = time.process_time()
        turn()
        print(time.process_time() - started, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
