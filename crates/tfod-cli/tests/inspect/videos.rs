//! `detect` on videos. Tests that need FFmpeg say so where it is not there, and do nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::detect::{detect, fixed_model};
use crate::make::{Folder, example};

/// The model finds the left half of every picture, and all of it.
const BOXES: [f32; 8] = [0.0, 0.0, 1.0, 0.5, 0.0, 0.0, 1.0, 1.0];

/// Runs `ffmpeg` with arguments, which are separated by spaces, in a folder; whether it is there.
fn ffmpeg(folder: &Folder, arguments: &str) -> bool {
    let made = Command::new("ffmpeg")
        .args(["-v", "error", "-y"])
        .args(arguments.split(' '))
        .current_dir(folder.path("."))
        .output();
    let Ok(made) = made else {
        println!("skipped: there is no ffmpeg (apt install ffmpeg)");
        return false;
    };
    assert!(made.status.success(), "{arguments}: {made:?}");
    true
}

/// Two seconds of 160x120 pixels at 12.5 frames a second.
const SOURCE: &str = "-f lavfi -i testsrc=size=160x120:rate=25/2:duration=2";
/// As many of a tone.
const TONE: &str = "-f lavfi -i sine=duration=2";

/// What `ffprobe` says of the streams of a file.
fn streams(path: &Path) -> Vec<Value> {
    let asked = Command::new("ffprobe")
        .args([
            "-v",
            "error",
            "-count_frames",
            "-of",
            "json",
            "-show_streams",
        ])
        .arg(path)
        .output()
        .unwrap();
    assert!(asked.status.success(), "{asked:?}");
    let answer: Value = serde_json::from_slice(&asked.stdout).unwrap();
    answer["streams"].as_array().unwrap().clone()
}

struct Run {
    output: PathBuf,
    errors: String,
    said: String,
    status: i32,
}

/// Detects in a file or folder, with results in the folder `out`.
fn run(folder: &Folder, name: &str, flags: &[&str]) -> Run {
    let model = fixed_model(folder, "fixed.onnx", &BOXES);
    let output = folder.path("out");
    let flags = [&["--output", output.to_str().unwrap()], flags].concat();
    let done = detect(&[&model, &folder.path(name)], &flags);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let Output {
        status,
        stdout,
        stderr,
    } = done;
    Run {
        output,
        errors: text(stderr),
        said: text(stdout),
        status: status.code().unwrap(),
    }
}

impl Run {
    fn lines(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.output.join("detections.jsonl")).unwrap();
        let line = |line| serde_json::from_str(line).unwrap();
        text.lines().map(line).collect()
    }

    fn record(&self) -> Value {
        serde_json::from_slice(&fs::read(self.output.join("detect.json")).unwrap()).unwrap()
    }
}

#[test]
fn every_frame_of_a_video_is_drawn_and_told_of() {
    let folder = Folder::new();
    fs::create_dir(folder.path("given")).unwrap();
    if !ffmpeg(&folder, &format!("{SOURCE} {TONE} -c:a aac given/v.mov")) {
        return;
    }
    fs::copy(
        example("images/test_1.png"),
        folder.path("given/test_1.png"),
    )
    .unwrap();
    let done = run(&folder, "given", &[]);
    assert_eq!((&*done.errors, done.status), ("", 0), "{}", done.said);
    let expected = "1 picture, 25 frames, 52 detections with scores from 0.5 on";
    assert!(done.said.contains(expected), "{}", done.said);
    let expected = "v.mov: 25 frames, 12.50 a second; drawn with its sound\n";
    assert!(done.said.contains(expected), "{}", done.said);

    let lines = done.lines();
    assert_eq!(lines.len(), 26);
    assert!(lines[0]["frame"].is_null());
    for (number, line) in (0u32..).zip(&lines[1..]) {
        assert_eq!(
            (&line["frame"], &line["image_id"]),
            (&json!(number), &json!(number + 2))
        );
        assert_eq!(line["time"], json!(f64::from(number) * 2.0 / 25.0));
        let sides = json!({ "xmin": 0.0, "ymin": 0.0, "xmax": 80.0, "ymax": 120.0 });
        assert_eq!(line["detections"][0]["box"], sides);
        assert_eq!(line["drawn"], "drawn/v.mp4");
    }
    let table = fs::read_to_string(done.output.join("detections.csv")).unwrap();
    let row = "v.mov,4,160,120,1,dog,0.75,0,0,160,120,2,0.16\n";
    assert!(table.contains(row), "{table}");
    let record = done.record();
    let video = &record["videos"][0];
    assert_eq!(
        (&video["frames"], &video["sound"]),
        (&json!(25), &json!("copied"))
    );
    assert_eq!(
        (&record["pictures"], &record["frames"]),
        (&json!(1), &json!(25))
    );
    assert!(
        record["files"]
            .as_array()
            .unwrap()
            .contains(&json!("drawn/v.mp4"))
    );
    let names = fs::read_dir(done.output.join("drawn")).unwrap().count();
    assert_eq!(names, 2, "nothing unfinished is left");

    let drawn = streams(&done.output.join("drawn/v.mp4"));
    let told = |stream: &Value| {
        ["codec_type", "nb_read_frames", "avg_frame_rate"].map(|key| stream[key].clone())
    };
    assert_eq!(
        told(&drawn[0]),
        [json!("video"), json!("25"), json!("25/2")]
    );
    // Small pictures are enlarged by a whole number.
    assert_eq!(
        (&drawn[0]["width"], &drawn[0]["height"]),
        (&json!(320), &json!(240))
    );
    assert_eq!((&drawn[1]["codec_name"], drawn.len()), (&json!("aac"), 2));

    // Only of pictures.
    let picture = folder.path("given/test_1.png");
    let model = folder.path("fixed.onnx");
    let done = detect(
        &[&model, &folder.path("given")],
        &["--compare", model.to_str().unwrap()],
    );
    let errors = String::from_utf8(done.stderr).unwrap();
    assert_eq!(
        errors,
        "warning: 1 video left out: --annotations and --compare are of pictures\n"
    );
    assert!(picture.is_file() && done.status.success());
}

#[test]
fn a_video_is_turned_and_has_one_rate() {
    let folder = Folder::new();
    let turned = format!("{SOURCE} -pix_fmt yuv444p -vf crop=159:119,setsar=4/3 flat.mkv");
    if !ffmpeg(&folder, &turned) {
        return;
    }
    ffmpeg(
        &folder,
        "-i flat.mkv -c copy -metadata:s:v rotate=90 turned.mp4",
    );
    let done = run(&folder, "turned.mp4", &["--write", "jsonl,drawn"]);
    assert_eq!(done.status, 0, "{}", done.errors);
    let line = &done.lines()[3];
    let is_turned = streams(&folder.path("turned.mp4"))[0]["side_data_list"].is_array();
    let (width, height) = if is_turned { (119, 159) } else { (159, 119) };
    assert_eq!(
        (&line["width"], &line["height"]),
        (&json!(width), &json!(height))
    );
    let drawn = &streams(&done.output.join("drawn/turned.mp4"))[0];
    let even = |side: u32| json!((side * 3).next_multiple_of(2));
    assert_eq!(
        (&drawn["width"], &drawn["height"]),
        (&even(width), &even(height))
    );
    let aspect = if is_turned { "3:4" } else { "4:3" };
    assert_eq!(drawn["sample_aspect_ratio"], aspect);
    assert!(done.said.contains("; it has no sound\n"), "{}", done.said);

    // The first second has ten frames, the next four five: 15 in 5 seconds.
    let variable = "-f lavfi -i testsrc=size=64x48:rate=10:duration=1.5 -vf setpts=if(lt(N\\,10)\\,N/10\\,1+(N-10)*0.8)/TB variable.mkv";
    ffmpeg(&folder, variable);
    // Of this container the average is known.
    ffmpeg(&folder, "-i variable.mkv -c copy variable.mp4");
    let done = run(&folder, "variable.mp4", &["--write", "jsonl"]);
    assert_eq!(done.status, 0, "{}", done.errors);
    let (lines, record) = (done.lines(), done.record());
    let video = &record["videos"][0];
    let rate = video["frame_rate"].as_f64().unwrap();
    assert!((2.0..6.0).contains(&rate), "{video}");
    let last = lines.last().unwrap();
    let time = last["frame"].as_f64().unwrap() / rate;
    assert!(
        (last["time"].as_f64().unwrap() - time).abs() < 1e-6,
        "{last}"
    );
    assert!(
        (3.5..5.5).contains(&time),
        "the whole video is seen: {last}"
    );
}

#[test]
fn what_comes_before_damage_is_kept() {
    let folder = Folder::new();
    fs::create_dir(folder.path("given")).unwrap();
    let whole = format!("{SOURCE} {TONE} -c:v mpeg4 -c:a pcm_s16le given/whole.mkv");
    if !ffmpeg(&folder, &whole) {
        return;
    }
    let bytes = fs::read(folder.path("given/whole.mkv")).unwrap();
    folder.write("given/cut.mkv", &bytes[..bytes.len() * 2 / 3]);
    folder.write("given/nothing.mp4", b"no video");
    // What names another file is not followed.
    folder.write(
        "given/list.mkv",
        b"ffconcat version 1.0\nfile 'whole.mkv'\n",
    );
    ffmpeg(
        &folder,
        "-f lavfi -i sine=duration=1 -c:a aac given/tone.mp4",
    );
    let done = run(&folder, "given", &[]);
    assert_eq!(done.status, 3, "{}", done.errors);
    let lines = done.lines();
    let of = |name: &str| {
        let is_of = |line: &&Value| line["image"].as_str().unwrap().ends_with(name);
        let (told, frames): (Vec<&Value>, _) = lines
            .iter()
            .filter(is_of)
            .partition(|line| line["frame"].is_null());
        (
            frames.len(),
            told.first()
                .map(|line| line["error"].as_str().unwrap().to_owned()),
        )
    };
    assert_eq!(of("whole.mkv"), (25, None));
    let (frames, problem) = of("cut.mkv");
    assert!((8..25).contains(&frames), "{frames}");
    let problem = problem.unwrap();
    let kept = format!("; the {frames} frames before are kept");
    assert!(
        problem.contains("cut.mkv: not a video that can be read: ") && problem.ends_with(&kept),
        "{problem}"
    );
    for (name, expected) in [
        ("nothing.mp4", "ffprobe says: "),
        ("list.mkv", "ffprobe says: "),
        ("tone.mp4", "there are no moving pictures in it"),
    ] {
        let (frames, problem) = of(name);
        let problem = problem.unwrap();
        assert_eq!(frames, 0);
        assert!(
            problem.contains(expected) && done.errors.contains(&problem),
            "{problem}"
        );
        assert!(!done.output.join("drawn").join(name).exists());
    }
    let drawn = streams(&done.output.join("drawn/cut.mp4"));
    assert_eq!(drawn[0]["nb_read_frames"], frames.to_string());
    assert_eq!(drawn[1]["codec_name"], "aac");
    let expected = "cut.mkv: 1";
    assert!(
        done.said.contains(expected)
            && done
                .said
                .contains("; drawn with its sound, encoded anew as AAC\n"),
        "{}",
        done.said
    );
}

#[test]
fn without_ffmpeg_it_is_said_what_is_missing() {
    let folder = Folder::new();
    let (model, video) = (
        fixed_model(&folder, "fixed.onnx", &BOXES),
        folder.write("given/v.mp4", b"no video"),
    );
    fs::copy(
        example("images/test_1.png"),
        folder.path("given/test_1.png"),
    )
    .unwrap();
    let without = |given: &Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tfod"));
        let command = command.arg("detect").args([&model, given]);
        let done = command
            .env("PATH", folder.path("nowhere"))
            .output()
            .unwrap();
        let errors = String::from_utf8(done.stderr).unwrap();
        assert!(
            errors.contains("install FFmpeg (`apt install ffmpeg`"),
            "{errors}"
        );
        assert!(errors.contains("v.mp4: "), "{errors}");
        (errors, done.status.code().unwrap())
    };
    let (errors, status) = without(&video);
    assert_eq!(status, 1);
    assert!(errors.starts_with("error: "), "{errors}");
    // What else is in a folder is looked at.
    let (errors, status) = without(&folder.path("given"));
    assert_eq!(status, 3);
    assert!(errors.ends_with("; passed over\n"), "{errors}");
}

#[cfg(unix)]
#[test]
fn an_interruption_leaves_nothing() {
    use std::os::unix::process::ExitStatusExt as _;
    use std::time::{Duration, Instant};

    let folder = Folder::new();
    let long = "-f lavfi -i testsrc=size=640x480:rate=25:duration=20 -c:v mpeg4 long.mp4";
    if !ffmpeg(&folder, long) {
        return;
    }
    let model = fixed_model(&folder, "fixed.onnx", &BOXES);
    let results = folder.path("results");
    fs::create_dir(&results).unwrap();
    for signal in ["INT", "TERM", "TERM"] {
        let mut running = Command::new(env!("CARGO_BIN_EXE_tfod"))
            .args(["detect", "--output"])
            .args([&results.join("out"), &model, &folder.path("long.mp4")])
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let drawn = |path: PathBuf| path.join("new/drawn/long.mp4.silent").is_file();
        let begun = Instant::now();
        loop {
            let entries = fs::read_dir(&results).unwrap();
            if entries
                .filter_map(Result::ok)
                .any(|entry| drawn(entry.path()))
            {
                break;
            }
            assert!(begun.elapsed() < Duration::from_mins(1), "nothing is drawn");
            std::thread::sleep(Duration::from_millis(20));
        }
        let sent = Command::new("kill")
            .args(["-s", signal, &running.id().to_string()])
            .status();
        assert!(sent.unwrap().success());
        let status = running.wait().unwrap();
        assert!(status.signal().is_some(), "{status}");
        // FFmpeg ends by itself, and makes nothing anew.
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(fs::read_dir(&results).unwrap().count(), 0);
    }
}
