//! Many pictures, one after another: while the model looks at some, the next are decoded, and those before are drawn and written.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tfod_evaluate::tfrecord::{RecordPlace, Records};
use tfod_evaluate::{ReadError, example};
use tfod_image::{Decoding, ImageError, MOST_PIXELS, Picture, Pixels};

use crate::pictures::{Frame, Source};
use crate::results::{Found, number};
use crate::video::{DrawnSound, Frames, Video};
use crate::{DetectError, Detection, Detector, Listing, Names, PictureFile, Results, draw};

/// A model that has failed on so many pictures, and on none has not, is not run on more.
const FAILURES: u64 = 3;

/// What is told while pictures are looked at.
#[derive(Debug)]
pub enum Event<'a> {
    /// What was found in a picture.
    Found(&'a Found),
    /// A picture or folder was passed over.
    PassedOver(&'a PassedOver),
}

/// A picture that cannot be read, or on which the model fails; or a folder that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassedOver {
    /// Where it is.
    pub path: PathBuf,
    /// Why, with the path.
    pub problem: String,
}

/// A video that was looked at.
#[derive(Clone, Debug)]
pub struct VideoSummary {
    /// The video.
    pub video: Arc<Video>,
    /// How many frames there were.
    pub frames: u64,
    /// What is heard in the drawn one, if it was drawn.
    pub sound: Option<DrawnSound>,
}

impl VideoSummary {
    fn json(&self) -> Value {
        let video = &self.video;
        json!({
            "video": video.path.to_string_lossy(),
            "frames": self.frames,
            "frame_rate": video.frames_a_second(),
            "seconds": video.time(self.frames) - video.start,
            "sound": self.sound.as_ref().map(DrawnSound::key),
        })
    }
}

/// What was done.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// How many pictures were looked at.
    pub pictures: u64,
    /// How many frames of videos were looked at.
    pub frames: u64,
    /// The videos.
    pub videos: Vec<VideoSummary>,
    /// How many objects were found, by class.
    pub by_class: BTreeMap<u32, u64>,
    /// What was passed over.
    pub passed_over: Vec<PassedOver>,
    /// How files became pixels.
    pub decoding: Decoding,
    /// How many pictures viewers show turned, as their Exif data say, and were looked at as they are stored.
    pub unturned: u64,
    /// How long it took, the model's loading left out.
    pub time: Duration,
}

impl Summary {
    /// How many objects were found.
    pub fn detections(&self) -> u64 {
        self.by_class.values().sum()
    }

    /// Everything, with the keys that `docs/detect.md` explains.
    pub fn json(&self, detector: &Detector) -> Value {
        let classes = self.by_class.iter().map(|(id, count)| {
            let name = detector.classes().get(*id);
            json!({ "class_id": id, "class": name, "detections": count })
        });
        let passed_over = self
            .passed_over
            .iter()
            .map(|one| json!({ "path": one.path.to_string_lossy(), "problem": one.problem }));
        json!({
            "producer": concat!("tfod ", env!("CARGO_PKG_VERSION")),
            "model": detector.path().to_string_lossy(),
            "score_threshold": number(detector.score_threshold()),
            "pictures": self.pictures,
            "frames": self.frames,
            "videos": self.videos.iter().map(VideoSummary::json).collect::<Vec<_>>(),
            "detections": self.detections(),
            "classes": classes.collect::<Vec<_>>(),
            "passed_over": passed_over.collect::<Vec<_>>(),
            "pixels": match self.decoding.pixels {
                Pixels::TensorFlow => "tensorflow",
                Pixels::Pillow => "pillow",
            },
            "exif_orientation": self.decoding.upright,
            "orientation_ignored": self.unturned,
            "seconds": self.time.as_secs_f64(),
        })
    }
}

/// What was read.
enum Read {
    Picture(PictureFile, Result<Picture, ImageError>),
    /// The end of a video, which has given so many frames; and what is wrong with it.
    End(Option<VideoSummary>, Option<PassedOver>),
}

/// Looks at pictures, writes what is found, and tells of each in the order of the list. `results` are not finished here.
///
/// # Errors
///
/// If the model cannot be run at all, or results cannot be written. What is wrong with a single picture is told, and it is passed over.
pub fn run(
    detector: &mut Detector,
    listing: &Listing,
    mut results: Option<&mut Results>,
    tell: &mut dyn FnMut(Event<'_>),
) -> Result<Summary, DetectError> {
    let started = Instant::now();
    let (classes, keypoints) = (detector.classes().clone(), detector.keypoints().clone());
    let mut summary = Summary {
        decoding: listing.decoding,
        ..Summary::default()
    };
    thread::scope(|scope| {
        let (read, pictures) = sync_channel(1);
        scope.spawn(move || read_all(listing, &read));
        let (found, to_write) = sync_channel(1);
        let names = Names {
            classes: &classes,
            keypoints: &keypoints,
        };
        let writer = results
            .as_deref_mut()
            .map(|results| scope.spawn(move || write_all(results, &to_write, names)));
        let mut looker = Looker {
            detector,
            write: writer.is_some().then_some(found),
            tell,
            summary: &mut summary,
            failures: 0,
        };
        let looked = looker
            .unreadable(listing)
            .and_then(|()| looker.look_at(&pictures));
        // With these, the other threads end.
        drop(pictures);
        drop(looker);
        let written = writer.map_or(Ok(()), |writer| {
            writer
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        // What cannot be written is why nothing more was looked at.
        match (written, looked) {
            (Err(error), _) => Err(error),
            (Ok(()), Err(Stop::Error(error))) => Err(*error),
            (Ok(()), Ok(()) | Err(Stop::NotWritten)) => Ok(()),
        }
    })?;
    let sounds = results.map_or_else(Vec::new, Results::take_sounds);
    for (video, sound) in summary.videos.iter_mut().zip(sounds) {
        video.sound = sound;
    }
    summary.time = started.elapsed();
    Ok(summary)
}

/// Decodes pictures, until nobody wants them.
fn read_all(listing: &Listing, to: &SyncSender<Read>) {
    let mut reader = Reader {
        listing,
        to,
        next_id: listing.has_videos().then_some(1),
        records: None,
    };
    for file in &listing.pictures {
        if reader.read(file).is_none() {
            return;
        }
    }
}

struct Reader<'a> {
    listing: &'a Listing,
    to: &'a SyncSender<Read>,
    /// The number of the next picture or frame, where there are videos: how many frames they have is not known before.
    next_id: Option<u64>,
    /// The TFRecord that is being read.
    records: Option<(PathBuf, Records)>,
}

impl Reader<'_> {
    /// Reads a file; `None` if nobody wants more.
    fn read(&mut self, file: &PictureFile) -> Option<()> {
        match &file.source {
            Source::File | Source::Frame(_) => {
                let read = Picture::open_with(&file.path, self.listing.decoding);
                self.send(file.clone(), read)
            }
            Source::Record(place) => {
                let bytes = self.image(place).map_err(|error| ImageError {
                    path: file.shown().into(),
                    problem: error.problem,
                });
                let name = file.shown();
                let decode =
                    |bytes: Vec<u8>| Picture::decode(name.as_ref(), &bytes, self.listing.decoding);
                let read = bytes.and_then(decode);
                self.send(file.clone(), read)
            }
            Source::Video => self.read_video(file),
        }
    }

    /// The file of the image in a record.
    fn image(&mut self, place: &RecordPlace) -> Result<Vec<u8>, ReadError> {
        let known = self.records.take();
        let mut records = match known {
            Some((path, records)) if path == place.path => records,
            _ => Records::open(&place.path)?,
        };
        records.seek(place)?;
        let record = records.next();
        self.records = Some((place.path.clone(), records));
        let (place, bytes) = record.transpose()?.ok_or_else(|| ReadError {
            path: place.path.clone(),
            place: String::new(),
            problem: "the record is there no more: the file has changed".to_owned(),
        })?;
        example::read_image(&place, &bytes)
    }

    fn send(&mut self, mut file: PictureFile, read: Result<Picture, ImageError>) -> Option<()> {
        if let Some(next) = &mut self.next_id {
            file.image_id = *next;
            *next += 1;
        }
        self.to.send(Read::Picture(file, read)).ok()
    }

    fn read_video(&mut self, file: &PictureFile) -> Option<()> {
        let passed_over = |problem| PassedOver {
            path: file.path.clone(),
            problem,
        };
        let video = match Video::open(&file.path) {
            Ok(video) => Arc::new(video),
            Err(problem) => {
                let end = Read::End(None, Some(passed_over(problem)));
                return self.to.send(end).ok();
            }
        };
        let mut count = 0;
        let ended = match Frames::open(&video) {
            Err(problem) => Err(problem),
            Ok(mut frames) => loop {
                let pixels = match frames.next() {
                    Ok(Some(pixels)) => pixels,
                    Ok(None) => break Ok(()),
                    Err(problem) => break Err(problem),
                };
                let picture = Picture::from_rgb(&file.path, video.width, video.height, pixels)?;
                let mut of_frame = file.clone();
                of_frame.source = Source::Frame(Frame {
                    video: Arc::clone(&video),
                    number: count,
                });
                count += 1;
                self.send(of_frame, Ok(picture))?;
            },
        };
        let seen = (count > 0).then_some(VideoSummary {
            video,
            frames: count,
            sound: None,
        });
        let end = Read::End(seen, ended.err().map(passed_over));
        self.to.send(end).ok()
    }
}

/// What goes to the thread that writes.
enum ToWrite {
    Found(Box<Found>, Picture),
    PassedOver(PassedOver),
    /// A frame on which the model failed: without it, the drawn video would be shorter.
    Frame(PictureFile, Picture),
    /// The last frame of a video was written.
    EndOfVideo,
}

fn write_all(
    results: &mut Results,
    from: &Receiver<ToWrite>,
    names: Names<'_>,
) -> Result<(), DetectError> {
    for one in from {
        match one {
            ToWrite::PassedOver(one) => results.pass_over(&one.path, &one.problem)?,
            ToWrite::Frame(file, picture) => {
                let drawing = draw(&picture, &[], names.classes, names.keypoints);
                results.add_drawing(&file, &drawing)?;
            }
            ToWrite::EndOfVideo => results.end_video()?,
            ToWrite::Found(found, picture) => {
                results.add(&found, names)?;
                if results.is_drawn() {
                    let drawing = draw(&picture, &found.detections, names.classes, names.keypoints);
                    drop(picture);
                    results.add_drawing(&found.file, &drawing)?;
                }
            }
        }
    }
    Ok(())
}

/// Why not all was looked at.
enum Stop {
    Error(Box<DetectError>),
    /// The thread that writes has ended, and says why.
    NotWritten,
}

impl From<DetectError> for Stop {
    fn from(error: DetectError) -> Self {
        Self::Error(Box::new(error))
    }
}

struct Looker<'a> {
    detector: &'a mut Detector,
    write: Option<SyncSender<ToWrite>>,
    tell: &'a mut dyn FnMut(Event<'_>),
    summary: &'a mut Summary,
    failures: u64,
}

impl Looker<'_> {
    fn unreadable(&mut self, listing: &Listing) -> Result<(), Stop> {
        for (path, problem) in &listing.unreadable {
            self.pass_over(path, crate::pictures::shown_problem(path, problem))?;
        }
        Ok(())
    }

    fn look_at(&mut self, pictures: &Receiver<Read>) -> Result<(), Stop> {
        let mut batch: Vec<(PictureFile, Picture)> = Vec::new();
        for read in pictures {
            match read {
                Read::Picture(file, Err(error)) => {
                    self.finish(&mut batch)?;
                    self.pass_over(&file.path, error.to_string())?;
                }
                Read::End(seen, problem) => {
                    self.finish(&mut batch)?;
                    if let Some(one) = problem {
                        self.pass_over(&one.path, one.problem)?;
                    }
                    if let Some(seen) = seen {
                        self.summary.videos.push(seen);
                        self.write(ToWrite::EndOfVideo)?;
                    }
                }
                Read::Picture(file, Ok(picture)) => {
                    if !self.takes(&batch, &picture) {
                        self.finish(&mut batch)?;
                    }
                    batch.push((file, picture));
                }
            }
        }
        self.finish(&mut batch)
    }

    /// Whether a picture can be given to the model with others.
    fn takes(&self, batch: &[(PictureFile, Picture)], picture: &Picture) -> bool {
        let area = |(width, height): (u32, u32)| u64::from(width) * u64::from(height);
        let goes = |(_, other): &(PictureFile, Picture)| {
            self.detector.go_together(other.size(), picture.size())
        };
        let pixels = batch.iter().map(|(_, other)| area(other.size()));
        let pixels = area(picture.size()) + pixels.sum::<u64>();
        batch.len() < self.detector.batch() && pixels <= MOST_PIXELS && batch.iter().all(goes)
    }

    /// Runs the model on a batch, and passes on what it finds; where it fails on several, on one after another.
    fn finish(&mut self, batch: &mut Vec<(PictureFile, Picture)>) -> Result<(), Stop> {
        let batch = std::mem::take(batch);
        let pictures: Vec<&Picture> = batch.iter().map(|(_, picture)| picture).collect();
        match self.detector.detect(&pictures) {
            Ok(found) => {
                for ((file, picture), detections) in batch.into_iter().zip(found) {
                    self.found(file, picture, detections)?;
                }
            }
            Err(error) if error.is_of_picture() && batch.len() > 1 => {
                for one in batch {
                    self.finish(&mut vec![one])?;
                }
            }
            Err(error) if error.is_of_picture() => {
                self.failures += 1;
                let seen = self.summary.pictures + self.summary.frames;
                if seen == 0 && self.failures >= FAILURES {
                    return Err(error.into());
                }
                for (file, picture) in batch {
                    self.pass_over(&file.path, error.at_picture(&file))?;
                    if file.frame().is_some() {
                        self.write(ToWrite::Frame(file, picture))?;
                    }
                }
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn found(
        &mut self,
        file: PictureFile,
        picture: Picture,
        detections: Vec<Detection>,
    ) -> Result<(), Stop> {
        let (width, height) = picture.size();
        if file.frame().is_some() {
            self.summary.frames += 1;
        } else {
            self.summary.pictures += 1;
        }
        self.summary.unturned += u64::from(picture.is_unturned());
        for one in &detections {
            *self.summary.by_class.entry(one.class_id).or_default() += 1;
        }
        let found = Found {
            file,
            width,
            height,
            detections,
        };
        (self.tell)(Event::Found(&found));
        self.write(ToWrite::Found(Box::new(found), picture))
    }

    fn pass_over(&mut self, path: &Path, problem: String) -> Result<(), Stop> {
        let one = PassedOver {
            path: path.to_owned(),
            problem,
        };
        (self.tell)(Event::PassedOver(&one));
        self.summary.passed_over.push(one.clone());
        self.write(ToWrite::PassedOver(one))
    }

    fn write(&self, one: ToWrite) -> Result<(), Stop> {
        let Some(write) = &self.write else {
            return Ok(());
        };
        write.send(one).map_err(|_| Stop::NotWritten)
    }
}
