"""Parity of SavedModels with the reference: every output of every case, on several images and batches."""

import numpy as np
import pytest
import tensorflow as tf
from oracle.cases import all_cases

from . import compare, tiers

BACK_END = 0


@pytest.mark.parametrize("case, input_type", tiers.with_inputs(all_cases(), BACK_END))
def test_every_output_equals_the_reference(case, input_type, oracle, export):
    model = tf.saved_model.load(str(export(case, input_type) / "saved_model"))  # owns the variables: must outlive the calls
    signature = model.signatures["serving_default"]
    inputs = compare.recorded(oracle(case) / f"{input_type}.npz")
    assert inputs
    for batch, expected in inputs:
        outputs = {key: value.numpy() for key, value in signature(input_tensor=tf.constant(batch)).items()}
        compare.assert_equal(outputs, expected, f"{input_type} {list(batch.shape)}")


@pytest.mark.quick
@pytest.mark.parametrize("case", tiers.cases(case for case in all_cases() if case.name == "padding_rows"))
def test_the_case_about_padding_rows_has_some(case, oracle):
    for _, expected in compare.recorded(oracle(case) / "image_tensor.npz"):
        count = int(expected["num_detections"][0])
        assert 0 < count < expected["detection_scores"].shape[1]
        assert np.all(expected["detection_classes"][0, count:] == 1)
