"""tf.train.Example without TensorFlow: the message that TFDS and others store samples in.

Its format is tensorflow/core/example/{example,feature}.proto: an Example has Features, a map from names to a list of
bytes, floats or integers each.
"""

import functools
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

_FIELD = descriptor_pb2.FieldDescriptorProto
_PACKAGE = "loglog.example"
"""Of our own: another library in the process may have registered tensorflow.Example."""


def parse_example(record: bytes) -> tuple[bytes, int] | None:
    """Returns the encoded image and the label, or None where the record is no Example that has both."""
    try:
        features = _example_class().FromString(record).features.feature
    except DecodeError:
        return None
    if "image" not in features or "label" not in features:
        return None
    images, labels = features["image"].bytes_list.value, features["label"].int64_list.value
    return (images[0], labels[0]) if len(images) == 1 and len(labels) == 1 else None


def make_example(encoded: bytes, label: int) -> bytes:
    """Returns the record of one sample."""
    example = _example_class()()
    example.features.feature["image"].bytes_list.value.append(encoded)
    example.features.feature["label"].int64_list.value.append(label)
    return example.SerializeToString(deterministic=True)


@functools.cache
def _example_class() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="loglog/example.proto", package=_PACKAGE, syntax="proto3")
    kinds = (("BytesList", _FIELD.TYPE_BYTES), ("FloatList", _FIELD.TYPE_FLOAT), ("Int64List", _FIELD.TYPE_INT64))
    for name, kind in kinds:
        file.message_type.add(name=name).field.add(name="value", number=1, type=kind, label=_FIELD.LABEL_REPEATED)
    feature = file.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    for number, (field, kind) in enumerate(zip(("bytes_list", "float_list", "int64_list"), kinds, strict=True), 1):
        _add_message(feature, field, number, kind[0]).oneof_index = 0
    features = file.message_type.add(name="Features")
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=_FIELD.TYPE_STRING, label=_FIELD.LABEL_OPTIONAL)
    _add_message(entry, "value", 2, "Feature")
    _add_message(features, "feature", 1, "Features.FeatureEntry").label = _FIELD.LABEL_REPEATED
    _add_message(file.message_type.add(name="Example"), "features", 1, "Features")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.Example"))


def _add_message(owner: Any, name: str, number: int, kind: str) -> Any:
    return owner.field.add(
        name=name,
        number=number,
        type=_FIELD.TYPE_MESSAGE,
        label=_FIELD.LABEL_OPTIONAL,
        type_name=f".{_PACKAGE}.{kind}",
    )
