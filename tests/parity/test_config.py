"""pipeline.config and label maps against the reference's own reader and printer.

The schema is compared field by field with the reference's descriptors. Then files are read by both sides: hand-picked
oddities of the dialect, random messages written in random spellings, damaged copies of those, and real configs where
there are any. Either both sides refuse a file, or both print the same text, byte for byte.

TFOD_ZOO and TFOD_CORPUS may name folders of public configs and of real users' configs. TFOD_CASES sets how many random
files are read (3000).
"""

import json
import os
import random
import string
import subprocess
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2, text_format
from object_detection.protos import pipeline_pb2, string_int_label_map_pb2
from object_detection.utils import config_util, label_map_util

ROOT = Path(__file__).resolve().parents[2]
CASES = int(os.environ.get("TFOD_CASES", "3000"))
PIPELINE, LABEL_MAP = "pipeline", "label-map"
TRAINING_BLOCKS = ("train_config", "train_input_reader", "eval_config", "eval_input_reader")


# --- the two sides ---


@pytest.fixture(scope="module")
def reprint():
    binary = ROOT / "target" / "release" / "examples" / "reprint"
    assert binary.exists(), f"{binary} does not exist: cargo build --release -p tfod-config --examples"
    return binary


def ours(reprint, kind, paths):
    listing = "\n".join(map(str, paths)) + "\n"
    done = subprocess.run([reprint, kind], input=listing, capture_output=True, check=True, text=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def reference(kind, data):
    """The text that the reference prints for a file's bytes, or the exception that it refuses them with.

    Two answers are not the reference's but what is meant to differ: a byte-order mark is passed over, which it refuses; two items of one id, of which it takes the
    first, are refused.
    """
    try:
        text = data.decode("utf-8-sig")
        if kind == PIPELINE:
            message = pipeline_pb2.TrainEvalPipelineConfig()
            text_format.Merge(text, message)
        else:
            message = string_int_label_map_pb2.StringIntLabelMap()
            text_format.Merge(text, message)
            label_map_util._validate_label_map(message)
            ids = [item.id for item in message.item]
            if len(set(ids)) < len(ids):
                raise ValueError(f"an id is there twice: {sorted(ids)}")
        return text_format.MessageToString(message)
    except Exception as refusal:  # It raises many kinds.
        return refusal


def disagreement(answer, expected):
    """What is wrong with our answer about a file, if anything."""
    refused = isinstance(expected, Exception)
    if refused:
        if answer["ok"] and not answer.get("warnings"):
            return f"accepted, but the reference says {expected!r}"
    elif not answer["ok"]:
        return f"refused: {answer['error']}"
    elif answer.get("warnings"):
        return f"warned about a good file: {answer['warnings']}"
    elif answer["text"] != expected:
        return f"ours:\n{answer['text']}\nreference:\n{expected}"
    return None


def assert_agreement(reprint, kind, files, folder):
    """`files` are bytes. Returns how many the reference accepts."""
    paths = []
    for number, data in enumerate(files):
        paths.append(folder / f"{number}.txt")
        paths[-1].write_bytes(data)
    answers = ours(reprint, kind, paths)
    assert len(answers) == len(files)
    accepted = 0
    wrong = []
    for data, answer in zip(files, answers):
        expected = reference(kind, data)
        accepted += isinstance(expected, str)
        problem = disagreement(answer, expected)
        if problem:
            wrong.append(f"{data!r}\n{problem}")
    assert not wrong, f"{len(wrong)} of {len(files)} differ; the shortest:\n" + min(wrong, key=len)
    return accepted


# --- the schema ---


def reference_files():
    files = {}

    def visit(file):
        if file.name not in files:
            files[file.name] = descriptor_pb2.FileDescriptorProto()
            file.CopyToProto(files[file.name])
            for dependency in file.dependencies:
                visit(dependency)

    visit(pipeline_pb2.DESCRIPTOR)
    visit(string_int_label_map_pb2.DESCRIPTOR)
    return files.values()


def default(field):
    """A default's value: two compilers may spell one number differently."""
    numeric = field.type in (field.TYPE_FLOAT, field.TYPE_INT32, field.TYPE_UINT32)
    if not field.HasField("default_value"):
        return None
    return float(field.default_value) if numeric else field.default_value


def facts(files):
    """Every fact of a schema, keyed by what it is about."""
    found = {}

    def visit_enum(scope, enum):
        for value in enum.value:
            found[f"{scope}.{enum.name}", value.name] = value.number

    def visit_message(scope, message):
        name = f"{scope}.{message.name}"
        found[name] = (
            [(span.start, span.end) for span in message.extension_range],
            [(span.start, span.end) for span in message.reserved_range],
            message.options.map_entry,
        )
        for field in message.field:
            oneof = message.oneof_decl[field.oneof_index].name if field.HasField("oneof_index") else None
            found[name, field.name] = (
                field.number,
                field.type,
                field.type_name,
                field.label,
                default(field),
                oneof,
                field.options.deprecated,
                field.options.packed,
            )
        for enum in message.enum_type:
            visit_enum(name, enum)
        for nested in message.nested_type:
            visit_message(name, nested)

    for file in files:
        for enum in file.enum_type:
            visit_enum(file.package, enum)
        for message in file.message_type:
            visit_message(file.package, message)
    return found


def test_schema_is_the_reference_schema(reprint):
    compiled = descriptor_pb2.FileDescriptorSet()
    compiled.ParseFromString(subprocess.run([reprint, "schema"], capture_output=True, check=True).stdout)
    mine, theirs = facts(compiled.file), facts(reference_files())
    assert len(theirs) > 1000
    missing = {key: theirs[key] for key in theirs.keys() - mine.keys()}
    extra = {key: mine[key] for key in mine.keys() - theirs.keys()}
    different = {key: (mine[key], theirs[key]) for key in mine.keys() & theirs.keys() if mine[key] != theirs[key]}
    assert (missing, extra, different) == ({}, {}, {})


def routes():
    """For every message that a config can have, the fields that lead to it, by the shortest way."""
    root = pipeline_pb2.TrainEvalPipelineConfig.DESCRIPTOR
    found = {root: ()}
    waiting = [root]
    for message in waiting:
        for field in message.fields:
            if field.message_type and field.message_type not in found:
                found[field.message_type] = found[message] + (field,)
                waiting.append(field.message_type)
    return found


def at_the_end(route, text):
    for field in reversed(route):
        text = f"{field.name} {{ {text} }}"
    return text


def test_every_field_of_the_schema_is_read(reprint, tmp_path):
    """Each field alone, in the message it belongs to: with values that fit it, and with those of the other kinds."""
    rng = random.Random(20200715)
    values = ["7", "-7", "2.5", "true", "'text'", "{}", "<>", "[]", "[1, 2]", "name", "inf"]
    files, fields = [], 0
    reached = routes()
    for message, route in reached.items():
        for field in message.fields:
            fields += 1
            good = [Speller(rng).scalar(field, random_scalar(rng, field))] if not field.message_type else []
            if field.enum_type:
                good += [value.name for value in field.enum_type.values]
            files += [at_the_end(route, f"{field.name}: {value}") for value in good + values]
    assert (len(reached), fields) == (162, 836)
    accepted = assert_agreement(reprint, PIPELINE, [text.encode("utf-8") for text in files], tmp_path)
    assert 2 * fields < accepted < 0.7 * len(files)


# --- chosen oddities ---

CHOSEN = [
    "",
    "# nothing",
    "model {}",
    "model <>",
    "model: {}",
    "model: <ssd: <num_classes: 3>>",
    "model { ssd { num_classes: 3; }; }, eval_config {},",
    "model { ssd { num_classes: 3;; } }",
    ";model {}",
    "model { ssd { num_classes 3 } }",
    "model { ssd { num_classes: [3] } }",
    "model { ssd > }",
    "model { ssd { }",
    "model { } }",
    "model { ssd { num_classes: 1 num_classes: 2 } }",
    "model { ssd { num_classes: 1 } ssd { add_background_class: false } }",
    "model { ssd { num_classes: 1 } faster_rcnn { } }",
    "model { ssd { num_classes: 1 } faster_rcnn { } ssd { } }",
    "model { ssd { } } model { faster_rcnn { } }",
    "model { [ext.name]: 3 }",
    "[ext.name] { }",
    "[type.googleapis.com/object_detection.protos.Ssd] { }",
    "3: 4",
    "model { ssd { Num_Classes: 3 } }",
    "model { ssd { num_classes_: 3 } }",
    "model { ssd { anchor_generator { ssd_anchor_generator { aspect_ratios: [1, 2.0, .5f] scales: [] } } } }",
    "model { ssd { anchor_generator { ssd_anchor_generator { aspect_ratios: [1, 2,] } } } }",
    "model { ssd { anchor_generator { ssd_anchor_generator { aspect_ratios: [1 2] } } } }",
    "model { ssd { anchor_generator { ssd_anchor_generator { aspect_ratios [1] } } } }",
    "eval_input_reader [{shuffle: true}, <shuffle: f>]",
    "eval_input_reader: []",
    "eval_input_reader: [{}{}]",
    "eval_config: [{}]",
    "eval_config { super_categories { key: 'a' value: 'b' } super_categories { value: 'c' } super_categories { } }",
    "eval_config { super_categories: [{ key: 'a' value: 'b' }, { key: 'a' value: 'c' }] }",
    "eval_config { super_categories { key: '\\303\\251' value: 'b' } super_categories { key: 'z' } super_categories {key: 'Z'} }",
    "model { ssd { post_processing { calibration_config { class_id_function_approximations { class_id_xy_pairs_map"
    " { key: 3 value { x_y_pair { x: 1 y: 2 } } } class_id_xy_pairs_map { key: 3 value { } } class_id_xy_pairs_map { }"
    " class_id_xy_pairs_map { key: -1 } } } } } }",
    "\ufeffmodel { }",
    "model\u00a0{\u2003}\x1c",
    "model {\r}\r\n",
    "# comment \r model { }",
    "model { # }\n}",
    "mod\u00e9l { }",
    "\u00e9",
    "model { ssd { num_classes: \u00e9 } }",
    "train_config { fine_tune_checkpoint: 'a' \"b\" 'c' }",
    "train_config { fine_tune_checkpoint: 'a'\n# between\n'b' }",
    "train_config { fine_tune_checkpoint: 'a }\n'b' }",
    "train_config { fine_tune_checkpoint: 'a\\\nb' }",
    "train_config { fine_tune_checkpoint: ''",
    "train_config { fine_tune_checkpoint: '",
    "train_config { fine_tune_checkpoint: '\\'",
    "train_config { fine_tune_checkpoint: a }",
    "train_config { fine_tune_checkpoint: '\u00e9\U0001f600' }",
    "train_config { fine_tune_checkpoint: '\\303' \"\\251\" }",
]


def scalar_cases():
    integers = "0 00 -0 +0 010 -010 +010 08 0x10 0X1f -0x1 0b11 0o17 1_000 1__0 1_ _1 0x_1 0_7 0_0 1.0 1e3 1f - + --1 '1' true inf"
    integers += " 2147483647 2147483648 -2147483648 -2147483649 4294967295 4294967296 99999999999999999999"
    floats = "0 -0 1 1. .5 -.5 +.5 1.f 1ff 1.0F 1e5 1E+5 1e-5 1e 1e5f . 010 0x10 1_0 1_0.0_1 1_.0 1e1_0 inf -inf +inf infinity"
    floats += " Inf INFF inff +inff infinityf infinityff infff nan NaN nanf -nan -nanf +nan 1e39 -1e39 1e-46 1e-45 3.4028235e38"
    floats += " 3.4028235677973366e+38 3.4028235677973367e+38 -3.4028235677973366e+38 1e400 16777217 0.1 123456.789 1e16 9.999e15"
    floats += " 1.17549e-38 0.30000001192092896 'x' \"1\" true 1.5.2 9.8607613e-32 1.1754942e-38 7.038531e-26"
    booleans = "true false t f 1 0 True False TRUE T yes 2 01 '1' -0"
    enums = "SIGMOID SOFTMAX sigmoid 0 2 3 -1 0x1 00 01 1_0 +1 0b1 SIGMOI 'SIGMOID' 1.0"
    yield from (f"model {{ ssd {{ num_classes: {text} }} }}" for text in integers.split())
    yield from (f"train_config {{ batch_size: {text} }}" for text in integers.split())
    yield from (f"train_input_reader {{ num_readers: {text} }}" for text in integers.split())
    yield from (f"model {{ ssd {{ post_processing {{ logit_scale: {text} }} }} }}" for text in floats.split())
    yield from (f"model {{ ssd {{ inplace_batchnorm_update: {text} }} }}" for text in booleans.split())
    yield from (f"model {{ ssd {{ post_processing {{ score_converter: {text} }} }} }}" for text in enums.split())


def string_cases():
    """Every character after a backslash, and escapes that lack digits."""
    escapes = [f"\\{chr(code)}z" for code in range(1, 256) if chr(code) != "N"]
    escapes += [r"\0", r"\18", r"\1234", r"\377", r"\400", r"\777", r"\x", r"\xg", r"\xf", r"\xfz", r"\x41f", r"\\x4", r"\\\x4"]
    escapes += [r"\u0041", r"\u41", r"\u20ac", r"\u00e9", r"\ud800", r"\U0001F600", r"\U00110000", r"\U0001f60", r"\U00000041"]
    escapes += [r"\xc3\xa9", r"\303\251", "\\\u00e9", "\u00e9", "\x00", "\x7f\x01", r"\N", "a\\", "\t'", '"']
    for escape in escapes:
        yield f'train_config {{ fine_tune_checkpoint: "{escape}" }}'
        yield f"train_config {{ fine_tune_checkpoint: '{escape}' }}"


def test_chosen_files(reprint, tmp_path):
    files = [text.encode("utf-8") for text in [*CHOSEN, *scalar_cases(), *string_cases()]]
    files += [b"# caf\xe9", b"\xff\xfem\x00", b"model { }\x00", b"\xed\xa0\x80"]
    accepted = assert_agreement(reprint, PIPELINE, files, tmp_path)
    assert 200 < accepted < len(files)


LABEL_MAPS = [
    "",
    "item { id: 1 name: 'a' }",
    "item { name: 'a' }",
    "item { id: 0 name: 'background' }",
    "item { id: 0 display_name: 'background' }",
    "item { display_name: 'background' }",
    "item { id: 0 name: 'a' }",
    "item { id: -1 name: 'background' }",
    "item: [{ id: 1 }, { id: 0 }]",
    "item { id: 1 keypoints { id: 0 label: 'nose' } frequency: RARE ancestor_ids: [1, 2] }",
    "item { id: 1, name: 'a', } item { id: 1 }",
    "item { id: '1' }",
    "items { id: 1 }",
]


def test_chosen_label_maps(reprint, tmp_path):
    accepted = assert_agreement(reprint, LABEL_MAP, [text.encode() for text in LABEL_MAPS], tmp_path)
    assert accepted == 6


# --- random files ---


def random_string(rng):
    alphabet = rng.choice([string.ascii_letters, string.printable, "\u00e9\u4e16\U0001f600 \\'\"\x00\x7f\n"])
    return "".join(rng.choices(alphabet, k=rng.randrange(12)))


def random_scalar(rng, field):
    if field.cpp_type == field.CPPTYPE_INT32:
        return rng.choice([0, 1, 90, -1, 2**31 - 1, -(2**31), rng.randrange(-1000, 1000)])
    if field.cpp_type == field.CPPTYPE_UINT32:
        return rng.choice([0, 1, 2**32 - 1, rng.randrange(1000)])
    if field.cpp_type == field.CPPTYPE_FLOAT:
        exponent = rng.choice([0, 0, 0, 3, 6, 20, 37, -4, -5, -20, -38, -44])
        return rng.choice([0.0, 1.0, 0.25, rng.uniform(-1, 1), rng.uniform(-10, 10) * 10.0**exponent, float("inf")])
    if field.cpp_type == field.CPPTYPE_BOOL:
        return rng.random() < 0.5
    if field.cpp_type == field.CPPTYPE_ENUM:
        return rng.choice(list(field.enum_type.values)).number
    return random_string(rng)


def fill(rng, message, density):
    """Sets some of the fields of a message, fewer the deeper it is."""
    fields = list(message.DESCRIPTOR.fields)
    count = min(len(fields), int(rng.expovariate(1 / density)) if density > 0.3 else 0)
    for field in rng.sample(fields, count):
        repeated = field.label == field.LABEL_REPEATED
        if field.message_type and field.message_type.GetOptions().map_entry:
            key, value = (field.message_type.fields_by_name[name] for name in ("key", "value"))
            entries = getattr(message, field.name)
            for _ in range(rng.randrange(4)):
                if value.message_type:
                    fill(rng, entries[random_scalar(rng, key)], density * 0.7)
                else:
                    entries[random_scalar(rng, key)] = random_scalar(rng, value)
        elif field.message_type:
            target = getattr(message, field.name)
            for _ in range(rng.randrange(3) if repeated else 1):
                element = target.add() if repeated else target
                element.SetInParent()
                fill(rng, element, density * 0.7)
        elif repeated:
            getattr(message, field.name).extend(random_scalar(rng, field) for _ in range(rng.randrange(4)))
        else:
            setattr(message, field.name, random_scalar(rng, field))


class Speller:
    """Writes a message in the many spellings that the text format allows."""

    def __init__(self, rng):
        self.rng = rng

    def blank(self):
        return self.rng.choice(["", "", " ", " ", "\n", "\t", "\r\n", "  \n ", " # note } \" '\n", "\u00a0", "#\n"])

    def gap(self):
        return self.rng.choice([" ", "\n", "\t", "\r\n", " # note { \n"]) + self.blank()

    def scalar(self, field, value):
        rng = self.rng
        if field.cpp_type in (field.CPPTYPE_INT32, field.CPPTYPE_UINT32):
            sign, size = "-" if value < 0 else "", abs(value)
            return sign + rng.choice([str(size), hex(size), f"0{size:o}", f"0o{size:o}", f"{size:_}", bin(size)])
        if field.cpp_type == field.CPPTYPE_FLOAT:
            if value in (float("inf"), float("-inf")):
                return ("-" if value < 0 else "") + rng.choice(["inf", "Infinity", "INF", "inff"])
            return rng.choice([repr(value), f"{value:.9g}", f"{value:e}", f"{value:.20f}", f"{value!r}f", f"{value:.3g}"])
        if field.cpp_type == field.CPPTYPE_BOOL:
            return rng.choice(["true", "t", "1", "True"] if value else ["false", "f", "0", "False"])
        if field.cpp_type == field.CPPTYPE_ENUM:
            return rng.choice([field.enum_type.values_by_number[value].name, str(value), hex(value)])
        return self.string(value)

    def string(self, value):
        data = value.encode("utf-8")
        cuts = sorted(self.rng.choices(range(len(data) + 1), k=self.rng.choice([0, 0, 0, 1, 2])))
        pieces = [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)])]
        return self.blank().join(self.quoted(piece) for piece in pieces)

    def quoted(self, data):
        quote = self.rng.choice("\"'")
        out = []
        for byte in data:
            character = chr(byte)
            if 32 <= byte < 127 and character not in "\\\"'" and self.rng.random() < 0.9:
                out.append(character)
            else:
                out.append(self.rng.choice([f"\\{byte:03o}", f"\\x{byte:02x}"]))
        return quote + "".join(out) + quote

    def value(self, field, value):
        if not field.message_type:
            return self.scalar(field, value)
        opening, closing = self.rng.choice(["{}", "{}", "<>"])
        return opening + self.blank() + self.message(value) + self.blank() + closing

    def field(self, field, value):
        colon = ":" if not field.message_type or self.rng.random() < 0.3 else ""
        return field.name + self.blank() + colon + self.blank() + self.value(field, value)

    def repeated(self, field, values):
        if self.rng.random() < 0.3:
            items = (self.blank() + "," + self.blank()).join(self.value(field, value) for value in values)
            return [field.name + self.blank() + ":" + self.blank() + "[" + items + self.blank() + "]"]
        return [self.field(field, value) for value in values]

    def message(self, message):
        parts = []
        for field, value in message.ListFields():
            if field.message_type and field.message_type.GetOptions().map_entry:
                entry = value.GetEntryClass()
                parts.append(self.repeated(field, [entry(key=key, value=value[key]) for key in value]))
            elif field.label == field.LABEL_REPEATED:
                parts.append(self.repeated(field, value))
            else:
                lines = [self.field(field, value)]
                if not field.message_type and self.rng.random() < 0.1:
                    lines.insert(0, self.field(field, random_scalar(self.rng, field)))
                parts.append(lines)
        self.rng.shuffle(parts)
        lines = [line for part in parts for line in part]
        return "".join(line + self.rng.choice([self.gap(), self.gap(), ",", " ;"]) for line in lines)


SCRAPS = ["{", "}", "<", ">", "[", "]", ":", ",", ";", "'", '"', "\\", "#", "\n", "-", "+", ".", "_", "0", "1", "f", "x"]
SCRAPS += ["e", " ", "\r", "\ufeff", "\u00e9", "\x1f", "\0", "model", "ssd", "num_classes: 3", "true", "SIGMOID", "inf", "1e9"]


def damaged(rng, text):
    """A copy with one to three places changed."""
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        at = rng.randrange(len(text) + 1)
        change = rng.randrange(5)
        if change == 0:
            text = text[:at] + text[at + 1 :]
        elif change == 1:
            text = text[:at] + rng.choice(SCRAPS) + text[at:]
        elif change == 2:
            text = text[:at] + rng.choice(SCRAPS) + text[at + 1 :]
        elif change == 3:
            lines = text.split("\n")
            chosen = rng.randrange(len(lines))
            lines[chosen : chosen + 1] = rng.choice([[], [lines[chosen]] * 2])
            text = "\n".join(lines)
        else:
            end = min(len(text), at + rng.randrange(20))
            text = text[:at] + text[end:] + rng.choice(["", text[at:end]])
    return text


def random_texts(rng, new_message, count):
    for number in range(count):
        message = new_message()
        fill(rng, message, rng.choice([2.0, 6.0, 12.0]))
        text = Speller(rng).message(message)
        yield text if number % 2 else damaged(rng, text)


def test_random_configs(reprint, tmp_path):
    rng = random.Random(20200710)
    texts = random_texts(rng, pipeline_pb2.TrainEvalPipelineConfig, CASES)
    accepted = assert_agreement(reprint, PIPELINE, [text.encode("utf-8") for text in texts], tmp_path)
    assert 0.5 * CASES <= accepted < 0.95 * CASES


def test_random_label_maps(reprint, tmp_path):
    rng = random.Random(20200711)
    count = CASES // 5
    texts = random_texts(rng, string_int_label_map_pb2.StringIntLabelMap, count)
    accepted = assert_agreement(reprint, LABEL_MAP, [text.encode("utf-8") for text in texts], tmp_path)
    assert 0.1 * count <= accepted < 0.95 * count


# --- what the exporter does with a config ---


def test_a_damaged_training_block_is_left_out(reprint, tmp_path):
    """Ours is the reference's text for the same file without the block."""
    rng = random.Random(20200712)
    damage = ["no_such_field: 3", "no_such_message { a { b: 'c}' } }", "batch_size: 'x'", "shuffle: 7"]
    files, without = [], []
    for _ in range(50):
        message = pipeline_pb2.TrainEvalPipelineConfig()
        fill(rng, message, 4.0)
        for block in TRAINING_BLOCKS:
            message.ClearField(block)
        good = text_format.MessageToString(message)
        block = f"{rng.choice(TRAINING_BLOCKS)} {{ {rng.choice(damage)} }}\n"
        files.append(rng.choice([block + good, good + block]))
        without.append(good)
    paths = []
    for number, text in enumerate(files):
        paths.append(tmp_path / f"{number}.config")
        paths[-1].write_text(text)
    for text, good, answer in zip(files, without, ours(reprint, PIPELINE, paths)):
        assert isinstance(reference(PIPELINE, text.encode()), Exception)
        assert answer["ok"] and len(answer["warnings"]) == 1, answer
        assert answer["text"] == good


def test_text_is_the_file_that_the_exporter_saves(reprint, tmp_path):
    rng = random.Random(20200713)
    message = pipeline_pb2.TrainEvalPipelineConfig()
    fill(rng, message, 6.0)
    config_util.save_pipeline_config(message, str(tmp_path))
    saved = tmp_path / "pipeline.config"
    (answer,) = ours(reprint, PIPELINE, [saved])
    assert answer["text"].encode() == saved.read_bytes()


# --- real files ---


def real_files(*suffixes):
    folders = [os.environ[name] for name in ("TFOD_ZOO", "TFOD_CORPUS") if name in os.environ]
    return sorted(path for folder in folders for path in Path(folder).rglob("*") if path.suffix in suffixes)


def test_real_configs(reprint, tmp_path):
    paths = real_files(".config")
    if not paths:
        pytest.skip("neither TFOD_ZOO nor TFOD_CORPUS is set")
    rng = random.Random(20200714)
    files = [path.read_bytes() for path in paths]
    copies = [damaged(rng, rng.choice(files).decode("utf-8", "replace")).encode("utf-8") for _ in range(CASES // 10)]
    assert_agreement(reprint, PIPELINE, files + copies, tmp_path)


def test_real_label_maps(reprint, tmp_path):
    paths = real_files(".pbtxt")
    if not paths:
        pytest.skip("neither TFOD_ZOO nor TFOD_CORPUS is set")
    assert_agreement(reprint, LABEL_MAP, [path.read_bytes() for path in paths], tmp_path)
