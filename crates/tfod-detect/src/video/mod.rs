//! Videos, by the programs of FFmpeg that the user has: `ffprobe` says what is in a file, `ffmpeg` gives its frames and takes drawn ones, by pipes.
//!
//! ```text
//! v.mov ─ ffprobe ─▶ Video: size, rate, sound
//!       ─ ffmpeg ─▶ Frames: pixels, one frame after another
//!                          ⋮ drawn
//!                   Encoder ─ ffmpeg ─▶ v.mp4, then with the sound of v.mov
//! ```
//!
//! What is seen of a video is defined so: its first moving stream, turned as players show it, in its stored pixels, at one constant rate, the average of the
//! file. Frames of a variable rate are repeated or left out for that, so frame `n` is what a player shows at `n / rate`.
//!
//! A file is never interpreted as anything else than a video: FFmpeg is given no protocol but files and pipes, and none of the formats that name further files.

mod encode;
mod frames;
mod probe;

use std::io::{Read as _, copy, sink};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};

use tfod_text::Shown;

pub use encode::DrawnSound;
pub(crate) use encode::Encoder;
pub(crate) use frames::Frames;

/// How names of videos end.
pub const VIDEO_ENDINGS: [&str; 16] = [
    "mp4", "m4v", "mov", "mkv", "webm", "avi", "mpg", "mpeg", "m2ts", "mts", "wmv", "asf", "flv",
    "3gp", "ogv", "mxf",
];

/// What files may be: containers of streams, and no playlists, which name other files.
const FORMATS: &str =
    "mov,mp4,matroska,webm,avi,mpeg,mpegts,mpegvideo,asf,flv,ogg,mxf,h264,hevc,m4v,ivf,dv";

/// A video, as `ffprobe` tells of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Video {
    /// The file.
    pub path: PathBuf,
    /// The width of frames as they are looked at: turned.
    pub width: u32,
    /// The height of frames as they are looked at: turned.
    pub height: u32,
    /// Frames in a second: numerator and denominator.
    pub rate: (u32, u32),
    /// At which second of the file the first frame is shown.
    pub start: f64,
    /// How many seconds of frames there are, as the file says.
    pub duration: Option<f64>,
    /// Whether there is sound, and whether it goes into drawn videos as it is.
    pub sound: Sound,
    /// The number of the stream.
    stream: u64,
    /// Width and height of a pixel, where it is no square.
    aspect: Option<(u32, u32)>,
}

/// What there is to hear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sound {
    /// Nothing.
    None,
    /// Sound that an MP4 can hold as it is.
    Fits,
    /// Sound that has to be encoded anew for an MP4.
    Other,
}

impl Video {
    /// The second at which a frame is shown.
    #[expect(
        clippy::cast_precision_loss,
        reason = "exact for more frames than a video has"
    )]
    pub fn time(&self, frame: u64) -> f64 {
        self.start + frame as f64 * f64::from(self.rate.1) / f64::from(self.rate.0)
    }

    /// Frames in a second.
    pub fn frames_a_second(&self) -> f64 {
        f64::from(self.rate.0) / f64::from(self.rate.1)
    }

    /// How many frames there may be.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rough number, positive"
    )]
    pub fn frames(&self) -> Option<u64> {
        let seconds = self.duration.filter(|seconds| *seconds > 0.0)?;
        Some((seconds * self.frames_a_second()).round() as u64)
    }

    /// The rate as `ffmpeg` reads it.
    fn rate_argument(&self) -> String {
        format!("{}/{}", self.rate.0, self.rate.1)
    }

    /// An error about the file.
    fn refused(path: &Path, problem: &str) -> String {
        format!("{}: not a video that can be read: {problem}", path.shown())
    }
}

/// A path as FFmpeg takes it for a file, whatever it looks like.
fn file_argument(path: &Path) -> std::ffi::OsString {
    let mut argument = std::ffi::OsString::from("file:");
    argument.push(path);
    argument
}

/// A program of FFmpeg that complains of errors alone.
fn program(name: &str) -> Command {
    let mut command = Command::new(name);
    command
        .args(["-v", "error"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    // What interrupts this program ends them by their pipes, when all is removed that they write.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    command
}

/// Adds a file that is read, and no more than that one.
fn input(command: &mut Command, path: &Path) {
    command
        .args(["-protocol_whitelist", "file", "-format_whitelist", FORMATS])
        .arg("-i")
        .arg(file_argument(path));
}

/// Says that a program is missing, if it is.
///
/// # Errors
///
/// If `ffmpeg` or `ffprobe` cannot be started.
pub(crate) fn check_programs() -> Result<(), String> {
    for name in ["ffmpeg", "ffprobe"] {
        let started = program(name).arg("-version").status();
        started.map_err(|error| missing(name, &error))?;
    }
    Ok(())
}

fn missing(name: &str, error: &std::io::Error) -> String {
    format!(
        "for videos the programs `ffmpeg` and `ffprobe` are needed, and `{name}` cannot be started: {error}; install FFmpeg (`apt install ffmpeg`, `brew install ffmpeg`, `winget install ffmpeg`, or from ffmpeg.org), so that both are in PATH"
    )
}

/// A program that was started; it ends with this.
#[derive(Debug)]
struct Running {
    name: &'static str,
    child: Child,
    complaint: Option<JoinHandle<String>>,
}

impl Running {
    fn start(name: &'static str, command: &mut Command) -> Result<Self, String> {
        let mut child = command.spawn().map_err(|error| missing(name, &error))?;
        let errors = child.stderr.take();
        let mut running = Self {
            name,
            child,
            complaint: None,
        };
        if let Some(errors) = errors {
            let listening = thread::Builder::new().spawn(move || first_of(errors));
            let listening = listening.map_err(|error| format!("no thread for it: {error}"))?;
            running.complaint = Some(listening);
        }
        Ok(running)
    }

    /// Waits for the end: whether the program says that it did what it was to, and what it complained of.
    fn end(&mut self) -> (Result<ExitStatus, String>, String) {
        let status = self.child.wait().map_err(|error| error.to_string());
        let complaint = self.complaint.take().map(JoinHandle::join);
        (status, complaint.and_then(Result::ok).unwrap_or_default())
    }

    /// Waits for the end, which is to be a success.
    fn succeed(&mut self) -> Result<(), String> {
        match self.end() {
            (Ok(status), _) if status.success() => Ok(()),
            (status, complaint) => Err(self.failure(status, &complaint)),
        }
    }

    fn failure(&self, status: Result<ExitStatus, String>, complaint: &str) -> String {
        let status = status.map_or_else(|error| error, |status| status.to_string());
        let name = self.name;
        match complaint {
            "" => format!("{name} ended with {status}"),
            _ => format!("{name} says: {complaint}"),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // What has ended takes no harm.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads all that a program says; the beginning is kept, in one line.
fn first_of(mut errors: ChildStderr) -> String {
    let mut said = Vec::new();
    let _ = errors.by_ref().take(2000).read_to_end(&mut said);
    let _ = copy(&mut errors, &mut sink());
    let said = String::from_utf8_lossy(&said);
    let lines = said
        .lines()
        .map(without_address)
        .filter(|line| !line.is_empty());
    let shown: Vec<&str> = lines.take(2).collect();
    shown.join("; ")
}

/// A line without the name and address of the part of FFmpeg that says it: `[h264 @ 0x5619bf79fdc0] text`.
fn without_address(line: &str) -> &str {
    let line = line.trim();
    match line.split_once("] ") {
        Some((part, text)) if part.starts_with('[') && part.contains(" @ 0x") => text.trim(),
        _ => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_left_out() {
        let line = "[mov,mp4 @ 0x55a27425b1c0] moov atom not found";
        assert_eq!(without_address(line), "moov atom not found");
        assert_eq!(without_address("[x] y"), "[x] y");
    }

    #[test]
    fn a_path_is_a_file_whatever_it_looks_like() {
        assert_eq!(file_argument("-y".as_ref()), "file:-y");
        assert_eq!(
            file_argument("http://x/a.mp4".as_ref()),
            "file:http://x/a.mp4"
        );
    }
}
