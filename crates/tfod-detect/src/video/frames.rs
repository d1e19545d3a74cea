//! The frames of a video, one after another.

use std::io::{self, Read as _};
use std::process::{ChildStdout, Stdio};

use super::{Running, Video, input, program};

/// What a file may end before the length that it tells, in seconds, and as a part of it.
const SHORTER: (f64, f64) = (0.5, 0.02);

/// Frames that `ffmpeg` decodes.
#[derive(Debug)]
pub(crate) struct Frames<'a> {
    video: &'a Video,
    running: Running,
    from: ChildStdout,
    count: u64,
}

impl<'a> Frames<'a> {
    /// Begins to decode.
    ///
    /// # Errors
    ///
    /// If `ffmpeg` cannot be started.
    pub(crate) fn open(video: &'a Video) -> Result<Self, String> {
        let (width, height) = (video.width, video.height);
        let mut command = program("ffmpeg");
        command.arg("-nostdin").stdout(Stdio::piped());
        input(&mut command, &video.path);
        let rate = video.rate_argument();
        // Turned before that, and of one size even where the file changes it.
        let filters = format!("setpts=PTS-STARTPTS,fps={rate},scale={width}:{height}");
        command
            .args(["-map", &format!("0:{}", video.stream), "-vf", &filters])
            .args(["-pix_fmt", "rgb24", "-f", "rawvideo", "pipe:1"]);
        let mut running = Running::start("ffmpeg", &mut command)?;
        let from = running.child.stdout.take();
        Ok(Self {
            video,
            running,
            from: from.ok_or("ffmpeg has no pipe")?,
            count: 0,
        })
    }

    /// The pixels of the next frame; `None` after the last one.
    ///
    /// # Errors
    ///
    /// If the file is damaged, or ends before it should: what came before is all there is.
    pub(crate) fn next(&mut self) -> Result<Option<Vec<u8>>, String> {
        let video = self.video;
        let size = 3 * u64::from(video.width) * u64::from(video.height);
        // As memory is filled: what was promised may not come.
        let mut pixels = Vec::new();
        let read = self.from.by_ref().take(size).read_to_end(&mut pixels);
        let is_whole = read.is_ok() && pixels.len() as u64 == size;
        if is_whole {
            self.count += 1;
            return Ok(Some(pixels));
        }
        self.end(read).map(|()| None).map_err(|problem| {
            let kept = match self.count {
                0 => String::new(),
                1 => "; the frame before is kept".to_owned(),
                count => format!("; the {count} frames before are kept"),
            };
            let problem = format!("{problem}{kept}");
            Video::refused(&video.path, &problem)
        })
    }

    /// Whether all of the file was decoded.
    fn end(&mut self, read: io::Result<usize>) -> Result<(), String> {
        read.map_err(|error| format!("ffmpeg gives nothing more: {error}"))?;
        match self.running.end() {
            (Ok(status), complaint) if status.success() && complaint.is_empty() => {}
            (status, complaint) => return Err(self.running.failure(status, &complaint)),
        }
        if self.count == 0 {
            return Err("it has no frames".to_owned());
        }
        let video = self.video;
        let (found, told) = (video.time(self.count) - video.start, video.duration);
        let (seconds, part) = SHORTER;
        match told {
            Some(told) if found < told - seconds.max(told * part) => Err(format!(
                "it ends after {found:.1} s, and says that it has {told:.1}: it is cut short"
            )),
            _ => Ok(()),
        }
    }
}
