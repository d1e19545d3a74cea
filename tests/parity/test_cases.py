"""What the cases cover: every value of every option in the default tier, every pair and every coupled triple in the exhaustive one."""

import subprocess
import sys

import pytest
from oracle import cache, cases, usage
from oracle.families import context_rcnn, efficientdet, mobilenet, resnet

from . import test_options

DESIGNS = {
    "fpnlite": cases.DESIGN,
    "ssd": mobilenet.DESIGN,
    "resnet": resnet.DESIGN,
    "efficientdet": efficientdet.DESIGN,
    "options": test_options.DESIGN,
}
OF_CONFIGS = [name for name, design in DESIGNS.items() if design.text]
pytestmark = pytest.mark.quick
every_design = pytest.mark.parametrize("design", [pytest.param(design, id=name) for name, design in DESIGNS.items()])


def missing(combinations, rows):
    """Returns the combinations, tuples of (option, index), that no row contains. Counted anew, without what made the rows."""
    return {each for each in combinations if not any(all(row[name] == index for name, index in each) for row in rows)}


@every_design
def test_the_default_tier_has_every_value(design):
    few, _ = design.places()
    values = {((name, index),) for name, all_values in design.options.items() for index in range(len(all_values))}
    assert not missing(values, few)


@every_design
def test_the_exhaustive_tier_has_every_pair_and_every_coupled_triple(design):
    few, further = design.places()
    _, pairs, triples = design.wanted()
    assert len(pairs) > 100 and all(len(group) == 3 for group in design.coupled)
    assert not missing(pairs | triples, few + further)
    assert all(design.is_possible(row) for row in few + further)


@every_design
def test_the_default_tier_is_small_and_has_what_is_usual(design):
    few, further = design.places()
    shares = design.shares()
    _, pairs, _ = design.wanted()

    def weight(combinations):
        return sum(shares[a] * shares[b] for a, b in combinations)

    assert weight(missing(pairs, few)) <= 0.1 * weight(pairs)
    assert len(few) <= 12 or not design.text


@pytest.mark.parametrize("name", OF_CONFIGS)
def test_the_first_row_is_nearer_to_real_configs_than_the_last(name):
    """Rows of the default tier lead with what people have."""
    design = DESIGNS[name]
    shares = design.shares()
    few, further = design.places()
    usual = [sum(shares[place] for place in row.items()) for row in few + further]
    assert sum(usual[: len(few)]) / len(few) > sum(usual[len(few) :]) / len(further)


def test_it_is_known_which_weights_and_images_the_default_tier_has():
    """Finding them takes most of the reference's time; `python -m oracle.fill default --record` enters what it finds."""
    of_default = [*cases.of_tier("default"), *(case for case in context_rcnn.cases() if case.tier != "exhaustive")]
    unknown = [case.name for case in of_default if not cache.found(case)]
    assert not unknown


def test_every_extractor_and_every_kind_of_checkpoint_is_in_the_default_tier():
    default = cases.of_tier("default")
    field = "model.ssd.feature_extractor.type"  # of SSDs, whose fields are counted

    def of(tier):
        settings = [usage.settings(case.config) for case in cases.of_tier(tier)]
        return {each[field] for each in settings if field in each}

    extractors, everywhere = of("default"), of("exhaustive")
    known = {name for name in usage.counts()["model.ssd.feature_extractor.type"]}
    assert known <= extractors == everywhere
    assert {case.checkpoint for case in default} == {case.checkpoint for case in cases.of_tier("exhaustive")}


def test_names_and_seeds_tell_cases_apart():
    names = [case.name for case in cases.all_cases()]
    assert len(names) == len(set(names))


def test_the_choice_is_the_same_in_every_process():
    """Names of cases and keys of results go by it. Hashes of strings differ from process to process."""
    program = "from oracle import cases, cache; print([(case.name, cache.key(case), case.tier) for case in cases.all_cases()])"
    runs = [subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": seed}) for seed in "12"]
    assert runs[0].stdout == runs[1].stdout and "options_00" in runs[0].stdout


def test_a_share_of_real_use_is_counted_below_the_innermost_common_message():
    texts = ["model {\n ssd {\n box_predictor {\n weight_shared_convolutional_box_predictor {\n" + field + "}\n}\n}\n}\n" for field in ("use_depthwise: true\n", "")]
    known = usage.counts()["model.ssd.box_predictor.weight_shared_convolutional_box_predictor.use_depthwise"]
    total = usage.counts()["model.ssd.box_predictor.weight_shared_convolutional_box_predictor"][usage.PRESENT]
    depthwise, plain = usage.shares(texts)
    assert depthwise == pytest.approx((known["true"] + 0.5) / (total + 1)) and depthwise > plain > 0
