//! Drawn frames, written as a video.

use std::fs;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Stdio};

use super::{Running, Sound, Video, file_argument, input, program};

/// What is done with a drawn video's sound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DrawnSound {
    /// There is none.
    None,
    /// It is that of the video.
    Copied,
    /// It was encoded anew.
    Encoded,
    /// It cannot be taken over, for this reason.
    Left(String),
}

impl DrawnSound {
    /// A word for it.
    pub fn key(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Copied => "copied",
            Self::Encoded => "encoded",
            Self::Left(_) => "left",
        }
    }
}

/// A video that is being written: of frames alone, and with its sound at the end.
#[derive(Debug)]
pub(crate) struct Encoder {
    path: PathBuf,
    silent: PathBuf,
    running: Running,
    to: Option<BufWriter<ChildStdin>>,
    count: u64,
}

impl Encoder {
    /// Begins an MP4 of frames of this size, which is that of drawings.
    ///
    /// # Errors
    ///
    /// If `ffmpeg` cannot be started.
    pub(crate) fn begin(
        video: &Video,
        (width, height): (u32, u32),
        path: &Path,
    ) -> Result<Self, String> {
        let mut silent = path.as_os_str().to_owned();
        silent.push(".silent");
        let silent = PathBuf::from(silent);
        let mut command = program("ffmpeg");
        let size = format!("{width}x{height}");
        let rate = video.rate_argument();
        command
            .args(["-f", "rawvideo", "-pix_fmt", "rgb24"])
            .args(["-video_size", &size, "-framerate", &rate])
            .args(["-i", "pipe:0"]);
        let (across, down) = video.aspect.unwrap_or((1, 1));
        // Colours have half the size, which is whole so; and players take them for what they are said to be.
        let filters = format!(
            "pad=ceil(iw/2)*2:ceil(ih/2)*2,scale=out_color_matrix=bt709:out_range=tv,setsar={across}/{down}"
        );
        command
            .args(["-vf", &filters, "-pix_fmt", "yuv420p"])
            .args(["-colorspace", "bt709", "-color_primaries", "bt709"])
            .args(["-color_trc", "bt709", "-color_range", "tv"]);
        output(&mut command, &silent);
        command.stdin(Stdio::piped());
        let mut running = Running::start("ffmpeg", &mut command)?;
        let to = running.child.stdin.take().map(BufWriter::new);
        Ok(Self {
            path: path.to_owned(),
            silent,
            running,
            to,
            count: 0,
        })
    }

    /// Writes a frame.
    ///
    /// # Errors
    ///
    /// If `ffmpeg` takes it not, with what it says.
    pub(crate) fn add(&mut self, rgb: &[u8]) -> Result<(), String> {
        let written = self.to.as_mut().map(|to| to.write_all(rgb));
        if let Some(Ok(())) = written {
            self.count += 1;
            return Ok(());
        }
        self.to = None;
        self.running.succeed()?;
        Err("ffmpeg ended before the last frame".to_owned())
    }

    /// Ends the video, and gives it the sound of that which was drawn.
    ///
    /// # Errors
    ///
    /// If it cannot be written. Sound that cannot be taken over is no error.
    pub(crate) fn finish(mut self, video: &Video) -> Result<DrawnSound, String> {
        let flushed = self.to.take().map(|mut to| to.flush());
        self.running.succeed()?;
        if let Some(Err(error)) = flushed {
            return Err(format!("ffmpeg does not take the last frame: {error}"));
        }
        let rename =
            |from: &Path, to: &Path| fs::rename(from, to).map_err(|error| error.to_string());
        let (codec, sound) = match video.sound {
            Sound::None => {
                rename(&self.silent, &self.path)?;
                return Ok(DrawnSound::None);
            }
            Sound::Fits => ("copy", DrawnSound::Copied),
            Sound::Other => ("aac", DrawnSound::Encoded),
        };
        match self.with_sound(video, codec) {
            Ok(()) => {
                fs::remove_file(&self.silent).map_err(|error| error.to_string())?;
                Ok(sound)
            }
            Err(problem) => {
                rename(&self.silent, &self.path)?;
                Ok(DrawnSound::Left(problem))
            }
        }
    }

    /// Copies the drawn frames, and beside them the sound as far as they go.
    fn with_sound(&self, video: &Video, codec: &str) -> Result<(), String> {
        let mut command = program("ffmpeg");
        command
            .args(["-nostdin", "-itsoffset", &video.start.to_string()])
            .arg("-i")
            .arg(file_argument(&self.silent));
        input(&mut command, &video.path);
        command
            .args(["-map", "0:v", "-map", "1:a", "-c:v", "copy", "-c:a", codec])
            .args(["-t", &video.time(self.count).to_string()]);
        output(&mut command, &self.path);
        Running::start("ffmpeg", &mut command)?.succeed()
    }
}

/// Adds the MP4 that is written.
fn output(command: &mut std::process::Command, path: &Path) {
    command
        .args(["-movflags", "+faststart", "-f", "mp4", "-y"])
        .arg(file_argument(path));
}
