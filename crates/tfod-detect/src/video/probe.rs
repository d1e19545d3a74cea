//! What is in a video.

use std::io::Read as _;
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use tfod_image::{LARGEST_SIDE, MOST_PIXELS};

use super::{Running, Sound, Video, input, program};

/// What is asked for.
const ENTRIES: &str = "stream=index,codec_type,codec_name,width,height,sample_aspect_ratio,avg_frame_rate,r_frame_rate,start_time,duration:stream_tags=rotate:stream_side_data=rotation:stream_disposition=attached_pic:format=start_time";
/// What `ffprobe` may answer, in bytes.
const MOST_ANSWER: u64 = 1 << 20;
/// The fastest and the slowest frames that are believed, in frames a second.
const RATES: std::ops::RangeInclusive<f64> = 0.001..=1000.0;
/// Sound that players expect in an MP4.
const IN_MP4: [&str; 6] = ["aac", "mp3", "ac3", "eac3", "alac", "opus"];

impl Video {
    /// Asks `ffprobe` what is in a file.
    ///
    /// # Errors
    ///
    /// If it cannot be started, the file is no video, or its frames are too large.
    pub(crate) fn open(path: &Path) -> Result<Self, String> {
        let answer = ask(path).map_err(|problem| Self::refused(path, &problem))?;
        Self::of(path, &answer).map_err(|problem| Self::refused(path, &problem))
    }

    fn of(path: &Path, answer: &Value) -> Result<Self, String> {
        let streams = answer["streams"].as_array().map_or(&[][..], Vec::as_slice);
        let of_type = |kind: &'static str| {
            let is_it = move |stream: &&Value| stream["codec_type"] == kind;
            streams.iter().filter(is_it)
        };
        // The cover of an album is a stream of its own.
        let is_picture = |stream: &&Value| stream["disposition"]["attached_pic"] == 1;
        let stream = of_type("video").find(|stream| !is_picture(stream));
        let stream = stream.ok_or("there are no moving pictures in it")?;
        let side = |key: &str| {
            let side = stream[key]
                .as_u64()
                .and_then(|side| u32::try_from(side).ok());
            side.filter(|side| *side > 0)
                .ok_or_else(|| format!("it does not say the {key} of its frames"))
        };
        let (mut width, mut height) = (side("width")?, side("height")?);
        if u64::from(width) * u64::from(height) > MOST_PIXELS || width.max(height) > LARGEST_SIDE {
            return Err(format!(
                "it has {width}x{height} pixels; the limit is {LARGEST_SIDE} a side and {MOST_PIXELS} in all"
            ));
        }
        let mut aspect = fraction(&stream["sample_aspect_ratio"], ':').filter(|(a, b)| a != b);
        if lies_on_its_side(stream) {
            (width, height) = (height, width);
            aspect = aspect.map(|(across, down)| (down, across));
        }
        let mut rates = ["avg_frame_rate", "r_frame_rate"].into_iter();
        let rate = rates.find_map(|key| fraction(&stream[key], '/'));
        let rate = rate.ok_or("it does not say how many frames it has in a second")?;
        let a_second = f64::from(rate.0) / f64::from(rate.1);
        if !RATES.contains(&a_second) {
            let (least, most) = (RATES.start(), RATES.end());
            return Err(format!(
                "it has {a_second} frames a second; expected {least} to {most}"
            ));
        }
        let start = seconds(&stream["start_time"]).unwrap_or(0.0);
        let start = start - seconds(&answer["format"]["start_time"]).unwrap_or(start);
        let mut sounds = of_type("audio").peekable();
        let sound = if sounds.peek().is_none() {
            Sound::None
        } else if sounds.all(|sound| IN_MP4.iter().any(|name| sound["codec_name"] == *name)) {
            Sound::Fits
        } else {
            Sound::Other
        };
        Ok(Self {
            path: path.to_owned(),
            width,
            height,
            rate,
            start: start.max(0.0),
            duration: seconds(&stream["duration"]),
            sound,
            stream: stream["index"]
                .as_u64()
                .ok_or("its streams have no numbers")?,
            aspect,
        })
    }
}

fn ask(path: &Path) -> Result<Value, String> {
    let mut command = program("ffprobe");
    command
        .args(["-of", "json", "-show_entries", ENTRIES])
        .stdout(Stdio::piped());
    input(&mut command, path);
    let mut running = Running::start("ffprobe", &mut command)?;
    let mut answer = Vec::new();
    if let Some(from) = running.child.stdout.take() {
        let read = from.take(MOST_ANSWER).read_to_end(&mut answer);
        read.map_err(|error| format!("ffprobe cannot be understood: {error}"))?;
    }
    running.succeed()?;
    serde_json::from_slice(&answer)
        .map_err(|error| format!("ffprobe cannot be understood: {error}"))
}

/// A fraction of positive numbers, as text: `30000/1001`.
fn fraction(value: &Value, sign: char) -> Option<(u32, u32)> {
    let (numerator, denominator) = value.as_str()?.split_once(sign)?;
    let number = |text: &str| text.parse().ok().filter(|number| *number > 0);
    Some((number(numerator)?, number(denominator)?))
}

/// Seconds, as text.
fn seconds(value: &Value) -> Option<f64> {
    let seconds: f64 = value.as_str()?.parse().ok()?;
    seconds.is_finite().then_some(seconds)
}

/// Whether players turn a stream by a quarter: as its matrix says, or in old files a tag.
fn lies_on_its_side(stream: &Value) -> bool {
    let matrices = stream["side_data_list"].as_array();
    let mut matrices = matrices.into_iter().flatten();
    let turn = matrices.find_map(|data| data["rotation"].as_f64());
    let tag = stream["tags"]["rotate"].as_str();
    let turn = turn.or_else(|| tag?.parse().ok()).unwrap_or(0.0);
    let turn = turn.rem_euclid(180.0);
    (45.0..135.0).contains(&turn)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn stream() -> Value {
        json!({
            "index": 1, "codec_type": "video", "width": 64, "height": 48, "sample_aspect_ratio": "4:3",
            "avg_frame_rate": "30000/1001", "start_time": "1.5", "duration": "2.002",
        })
    }

    fn video(streams: &Value) -> Result<Video, String> {
        let answer = json!({ "streams": streams, "format": { "start_time": "1.0" } });
        Video::of("v.mp4".as_ref(), &answer)
    }

    #[test]
    fn a_video_is_what_ffprobe_says() {
        let cover =
            json!({ "index": 0, "codec_type": "video", "disposition": { "attached_pic": 1 } });
        let found = video(&json!([cover, stream()])).unwrap();
        assert_eq!((found.width, found.height, found.stream), (64, 48, 1));
        assert_eq!((found.aspect, found.sound), (Some((4, 3)), Sound::None));
        assert_eq!(found.frames(), Some(60));
        assert!((found.time(30) - 1.501).abs() < 1e-9, "{}", found.time(30));
        for (turned, by) in [
            (json!({ "side_data_list": [{ "rotation": -90 }] }), true),
            (
                json!({ "side_data_list": [{}, { "rotation": 180 }] }),
                false,
            ),
            (json!({ "tags": { "rotate": "270" } }), true),
        ] {
            let mut stream = stream();
            let (members, more) = (stream.as_object_mut().unwrap(), turned.as_object().unwrap());
            members.extend(more.clone());
            let found = video(&json!([stream])).unwrap();
            let expected = if by {
                (48, 64, Some((3, 4)))
            } else {
                (64, 48, Some((4, 3)))
            };
            assert_eq!((found.width, found.height, found.aspect), expected);
        }
        let sound = |name: &str| json!({ "index": 2, "codec_type": "audio", "codec_name": name });
        let found = |sounds: &[&str]| {
            let sounds = sounds.iter().map(|name| sound(name));
            video(&sounds.chain([stream()]).collect()).unwrap().sound
        };
        assert_eq!(found(&["aac", "opus"]), Sound::Fits);
        assert_eq!(found(&["aac", "pcm_s16le"]), Sound::Other);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for (key, value, expected) in [
            ("codec_type", json!("audio"), "no moving pictures"),
            ("width", json!(0), "the width of its frames"),
            ("height", json!("many"), "the height of its frames"),
            ("width", json!(1 << 20), "the limit is 16384"),
            ("avg_frame_rate", json!("0/0"), "how many frames"),
            (
                "avg_frame_rate",
                json!("90000/1"),
                "90000 frames a second; expected 0.001 to 1000",
            ),
            ("index", json!(null), "have no numbers"),
        ] {
            let mut stream = stream();
            stream[key] = value;
            let problem = video(&json!([stream])).unwrap_err();
            assert!(problem.contains(expected), "{problem}");
        }
    }
}
