"""The programs of examples/batch: what they write is what ONNX Runtime gives by itself. tests/batch.py starts this; TFOD_BATCH is a JSON object with paths."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import uuid

import numpy as np
import onnxruntime
import pyarrow.dataset

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tests" / "consumers" / "page"))

from detections import detections

GIVEN = json.loads(os.environ["TFOD_BATCH"])
PNG, JPEG = (pathlib.Path(path) for path in GIVEN["pictures"])
PROGRAMS = {"ray": "with_ray.py", "beam": "with_beam.py"}
#: The name of the processes of Ray's that have the model.
WORKER = b"ray::MapWorker"


def plain(picture):
    """Returns what ONNX Runtime gives, best first, in the form of a row."""
    session = onnxruntime.InferenceSession(GIVEN["models"]["plain"], providers=["CPUExecutionProvider"])
    found = detections(session, picture)
    return {**found, "detections": sorted(found["detections"], key=lambda one: -one["score"]), "error": None}


EXPECTED = {path.name: plain(path) for path in (PNG, JPEG)}


class Programs(unittest.TestCase):
    maxDiff = 2000

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(dir=GIVEN["scratch"]))
        self.addCleanup(shutil.rmtree, self.folder)

    def command(self, program, model, source, *more):
        return [sys.executable, str(ROOT / "examples" / "batch" / PROGRAMS[program]), GIVEN["models"][model], str(source), str(self.folder / program), *more]

    def run_program(self, program, model, source, *more):
        """Runs a program that must succeed; returns its rows by picture, and what it prints."""
        ran = subprocess.run(self.command(program, model, source, *more), capture_output=True, text=True, check=False)
        self.assertEqual(ran.returncode, 0, ran.stderr)
        return self.rows(program), ran.stdout

    def rows(self, program):
        rows = pyarrow.dataset.dataset(self.folder / program, format="parquet").to_table().to_pylist()
        self.assertEqual([path.name for path in self.folder.iterdir() if "unfinished" in path.name], [])
        by_picture = {row["picture"]: row for row in rows}
        self.assertEqual(len(by_picture), len(rows), "each picture has one row")
        return by_picture

    def assert_detected(self, row, name, image_id=None):
        self.assertEqual(row, {**EXPECTED[name], "picture": row["picture"], "image_id": image_id})

    def pictures(self):
        """Returns a folder with pictures in it and below, a broken one, and a file that is none."""
        folder = self.folder / "pictures"
        (folder / "below").mkdir(parents=True)
        shutil.copy(PNG, folder)
        shutil.copy(JPEG, folder / "below")
        (folder / "broken.png").write_bytes(PNG.read_bytes()[:3000])
        (folder / "text.jpg").write_text("no picture")
        (folder / "notes.txt").write_text("not read")
        return folder

    def test_a_folder(self):
        folder = self.pictures()
        for program in PROGRAMS:
            with self.subTest(program):
                rows, said = self.run_program(program, "plain", folder)
                self.assertEqual(set(rows), {PNG.name, f"below/{JPEG.name}", "broken.png", "text.jpg"})
                self.assert_detected(rows[PNG.name], PNG.name)
                self.assert_detected(rows[f"below/{JPEG.name}"], JPEG.name)
                self.assertRegex(rows["broken.png"]["error"], "^is damaged: ")
                self.assertRegex(rows["text.jpg"]["error"], "^is no picture that can be decoded")
                self.assertIsNone(rows["text.jpg"]["detections"])
                self.assertIn("4 pictures, 2 without detections because of an error", said)
                self.assertIn("broken.png: is damaged", said)

    def detected(self, source, status=0):
        """Returns the lines that `tfod detect` writes for pictures, decoded as Pillow does, which the programs read them by."""
        output = self.folder / "detected"
        flags = ["--pixels", "pillow", "--score_threshold", "0", "--write", "jsonl", "--output", str(output)]
        ran = subprocess.run([GIVEN["tfod"], "detect", GIVEN["models"]["plain"], str(source), *flags], capture_output=True, text=True, check=False)
        self.assertEqual(ran.returncode, status, ran.stderr)
        lines = (output / "detections.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]

    def assert_same(self, line, row):
        """A line has what a row has, but for rounding: another runtime, and places in pixels."""
        self.assertEqual((line["width"], line["height"]), (row["width"], row["height"]))
        found, expected = line["detections"], row["detections"]
        self.assertEqual(len(found), len(expected))
        # Of what is hardly there, rounding can exchange neighbours.
        sure = sum(one["score"] > 0.01 for one in expected)
        self.assertGreater(sure, 0)
        self.assertEqual([one["class"] for one in found[:sure]], [one["name"] for one in expected[:sure]])
        np.testing.assert_allclose([one["score"] for one in found], [one["score"] for one in expected], atol=1e-4)
        sizes = np.array([row["height"], row["width"], row["height"], row["width"]])
        boxes = np.array([[one["box"][side] for side in ("ymin", "xmin", "ymax", "xmax")] for one in found[:sure]])
        np.testing.assert_allclose(boxes / sizes, [one["box"] for one in expected[:sure]], atol=1e-4)

    def test_rows_are_what_tfod_detect_finds(self):
        folder = self.pictures()
        lines = {os.path.relpath(line["image"], folder): line for line in self.detected(folder, status=3)}
        rows, _ = self.run_program("ray", "plain", folder)
        self.assertEqual(set(lines), set(rows))
        for name, row in rows.items():
            self.assertEqual("error" in lines[name], row["error"] is not None, name)
            if row["error"] is None:
                self.assert_same(lines[name], row)
        records = pathlib.Path(shutil.copy(GIVEN["records"], self.folder / "shapes.record"))
        lines = {line["image"]: line for line in self.detected(records)}
        rows, _ = self.run_program("beam", "plain", records)
        self.assertEqual(set(lines), set(rows))
        for name, row in rows.items():
            self.assert_same(lines[name], row)

    def test_records_and_several_pictures_in_one_call(self):
        """A model with a dynamic batch gives the same but for rounding. The second shard is cut short in its second record."""
        whole = pathlib.Path(GIVEN["records"]).read_bytes()
        (self.folder / "shapes.record-00000-of-00002").write_bytes(whole)
        (self.folder / "shapes.record-00001-of-00002").write_bytes(whole[:-9])
        pattern = self.folder / "shapes.record-*"
        for program in PROGRAMS:
            with self.subTest(program):
                # Both shards have pictures of the same names.
                table = self.table(program, pattern)
                self.assertEqual([row["picture"] for row in table].count(PNG.name), 2)
                for row in table:
                    if not row["error"]:
                        expected = EXPECTED[row["picture"]]["detections"]
                        self.assertEqual([one["name"] for one in row["detections"]], [one["name"] for one in expected])
                        for key in ("score", "box"):
                            np.testing.assert_allclose([one[key] for one in row["detections"]], [one[key] for one in expected], atol=1e-5)
                (broken,) = [row for row in table if row["error"]]
                self.assertRegex(broken["picture"], r"shapes\.record-00001-of-00002:1$")
                self.assertRegex(broken["error"], r"^is damaged: the record at byte \d+ has another checksum, or is cut short$")

    def table(self, program, pattern):
        ran = subprocess.run(self.command(program, "dynamic", pattern, "--batch=4"), capture_output=True, text=True, check=False)
        self.assertEqual(ran.returncode, 0, ran.stderr)
        return pyarrow.dataset.dataset(self.folder / program, format="parquet").to_table().to_pylist()

    def coco(self, count):
        """Writes a list of so many pictures, and one that is not there."""
        folder = self.folder / "images"
        folder.mkdir()
        images = [{"id": 0, "file_name": "absent.jpg"}]
        for number in range(1, count + 1):
            source = (PNG, JPEG)[number % 2]
            os.link(shutil.copy(source, self.folder), folder / f"{number:05}{source.suffix}")
            images.append({"id": number, "file_name": f"{number:05}{source.suffix}"})
        path = self.folder / "list.json"
        path.write_text(json.dumps({"images": images, "annotations": []}))
        return path, folder

    def assert_all_detected(self, rows, count):
        self.assertEqual(len(rows), count + 1)
        self.assertEqual(rows["absent.jpg"]["error"], "cannot be read: No such file or directory")
        for name, row in rows.items():
            if name != "absent.jpg":
                self.assert_detected(row, (PNG if name.endswith(PNG.suffix) else JPEG).name, int(name.split(".")[0]))

    def test_a_list_in_several_processes_of_beam(self):
        path, folder = self.coco(40)
        workers = ("--runner=DirectRunner", "--direct_running_mode=multi_processing", "--direct_num_workers=2")
        rows, _ = self.run_program("beam", "plain", path, f"--images={folder}", *workers)
        self.assert_all_detected(rows, 40)

    def test_a_worker_that_is_killed_is_started_again(self):
        count = 600
        path, folder = self.coco(count)
        mark = uuid.uuid4().hex
        with open(self.folder / "log", "w") as log:
            command = self.command("ray", "plain", path, f"--images={folder}", "--workers=2", "--batch=8")
            running = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "TFOD_BATCH_MARK": mark})
        seen, killed = set(), []

        def watch():
            while running.poll() is None:
                now = workers(mark)
                seen.update(now)
                # In the midst of its work: it has used more time than reading the model takes.
                busy = [pid for pid in now if seconds_of_processor(pid) > started.get(pid, 0) + 0.5]
                for pid in now:
                    started.setdefault(pid, seconds_of_processor(pid) + 2.0)
                if busy and len(now) == 2 and not killed:
                    os.kill(busy[0], signal.SIGKILL)
                    killed.append(busy[0])
                time.sleep(0.05)

        started = {}
        watching = threading.Thread(target=watch)
        watching.start()
        status = running.wait()
        watching.join()
        log = (self.folder / "log").read_text()
        self.assertEqual(status, 0, log)
        self.assertEqual(len(killed), 1, "a worker was killed")
        self.assertGreaterEqual(len(seen), 3, f"and another was started: {seen}")
        self.assert_all_detected(self.rows("ray"), count)

    def test_what_is_wrong_is_said(self):
        empty, there = self.folder / "empty", self.folder / "there"
        empty.mkdir()
        there.mkdir()
        broken = self.folder / "list.json"
        broken.write_text('{"annotations": []}')
        for program in PROGRAMS:
            for model, source, target, expected in (
                ("plain", empty, None, "empty: there are no pictures: expected files of"),
                ("plain", self.folder / "none*.record", None, "none*.record: there are no pictures: expected a folder, a COCO list"),
                ("plain", broken, None, "list.json: is no COCO list, which has `images`"),
                ("plain", PNG.parent, there, "there: is there already; expected the name of a new folder"),
                ("heads", PNG.parent, None, "the model has no detection_boxes, detection_classes, detection_scores, num_detections; expected one of"),
                ("absent", PNG.parent, None, "No such file or directory"),
            ):
                with self.subTest(program, expected=expected):
                    command = self.command(program, model, source)
                    command[4] = str(target or command[4])
                    ran = subprocess.run(command, capture_output=True, text=True, check=False)
                    self.assertEqual(ran.returncode, 1, ran.stderr)
                    self.assertRegex(ran.stderr.splitlines()[-1], "^error: ")
                    self.assertIn(expected, ran.stderr)
                    self.assertFalse((self.folder / program).exists())


def workers(mark):
    """Returns the processes with a model that belong to a run, which is known by a mark in its environment."""
    found = []
    for process in pathlib.Path("/proc").iterdir():
        try:
            if process.name.isdigit() and (process / "cmdline").read_bytes().startswith(WORKER) and mark.encode() in (process / "environ").read_bytes():
                found.append(int(process.name))
        except OSError:
            continue  # it has ended
    return found


def seconds_of_processor(pid):
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except OSError:
        return 0.0


if __name__ == "__main__":
    unittest.main()
