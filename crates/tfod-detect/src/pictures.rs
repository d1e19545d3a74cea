//! Which pictures there are: files as they are given, and those in folders.
//!
//! Of a folder, all files below it are taken whose names end as those of pictures and videos do, in the order of their paths. Links to folders are not followed, and what
//! begins with a dot is left out, as is the folder of results.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tfod_evaluate::tfrecord::{RecordPlace, is_tfrecord};
use tfod_evaluate::{ReadError, example};
use tfod_image::Decoding;
use tfod_text::Shown;

use crate::DetectError;
use crate::video::{self, VIDEO_ENDINGS, Video};

/// How names of pictures end.
pub const ENDINGS: [&str; 5] = ["jpg", "jpeg", "png", "gif", "bmp"];

/// How names of TFRecords end; other files are known by their content.
const RECORD_ENDINGS: [&str; 3] = ["record", "tfrecord", "tfrecords"];

/// More are a mistake: their names alone would take gigabytes.
const MOST_PICTURES: usize = 1 << 23;
/// Folders below folders.
const DEEPEST: usize = 128;

/// What a picture is read from.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// A file of its own.
    File,
    /// A video, of which every frame is looked at.
    Video,
    /// A frame of a video.
    Frame(Frame),
    /// A record of a TFRecord, whose image has the path as its name.
    Record(RecordPlace),
}

/// A frame of a video.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    /// The video.
    pub video: Arc<Video>,
    /// Its place among the frames, from 0.
    pub number: u64,
}

impl Frame {
    /// The second at which it is shown.
    pub fn time(&self) -> f64 {
        self.video.time(self.number)
    }
}

/// A picture that is to be looked at.
#[derive(Clone, Debug, PartialEq)]
pub struct PictureFile {
    /// Where it is.
    pub path: PathBuf,
    /// The number that stands for it in COCO's files: that at the end of its name where all names have one of their own, else its place, from 1.
    pub image_id: u64,
    /// Where it is drawn, below the folder of drawn pictures.
    pub drawn: PathBuf,
    /// What it is read from.
    pub source: Source,
}

impl PictureFile {
    /// What it is called in messages.
    pub fn shown(&self) -> String {
        match &self.source {
            Source::Frame(frame) => format!("{}, frame {}", self.path.shown(), frame.number),
            Source::Record(place) => format!(
                "{}: record {} ({})",
                place.path.shown(),
                place.number,
                self.path.shown()
            ),
            Source::File | Source::Video => self.path.shown().to_string(),
        }
    }

    /// The frame of a video that it is.
    pub fn frame(&self) -> Option<&Frame> {
        match &self.source {
            Source::Frame(frame) => Some(frame),
            _ => None,
        }
    }

    /// The record that it is in.
    pub fn record(&self) -> Option<&RecordPlace> {
        match &self.source {
            Source::Record(place) => Some(place),
            _ => None,
        }
    }
}

/// What was found.
#[derive(Debug, Default)]
pub struct Listing {
    /// The pictures, in the order in which they are looked at.
    pub pictures: Vec<PictureFile>,
    /// How many other files were in the folders.
    pub others: u64,
    /// Folders that cannot be read, and why.
    pub unreadable: Vec<(PathBuf, String)>,
    /// How files become pixels; by default as TensorFlow decodes them.
    pub decoding: Decoding,
}

impl Listing {
    /// Lists files and folders. `skipped` is a folder that is left out: that of results.
    ///
    /// # Errors
    ///
    /// If one of those given is not there, or there are no pictures in them, or too many; if one is a video, and FFmpeg is not installed.
    pub fn of(given: &[PathBuf], skipped: Option<&Path>) -> Result<Self, DetectError> {
        let mut found = Found {
            skipped: skipped.and_then(|folder| fs::canonicalize(folder).ok()),
            ..Found::default()
        };
        let holds_many = |path: &&PathBuf| path.is_dir() || is_tfrecord(path);
        let many_folders = given.iter().filter(holds_many).count() > 1;
        for path in given {
            let kind = fs::metadata(path).map_err(|problem| DetectError::Missing {
                path: path.clone(),
                problem,
            })?;
            // Results of one folder are as in that; of several, each has its own.
            let below = match path.file_name() {
                Some(name) if many_folders => PathBuf::from(name),
                _ => PathBuf::new(),
            };
            if !kind.is_dir() && (is_tfrecord(path) || has_ending(path, &RECORD_ENDINGS)) {
                found.add_records(path, &below)?;
                continue;
            }
            if !kind.is_dir() {
                let name = path.file_name().unwrap_or(OsStr::new("picture"));
                if has_ending(path, &VIDEO_ENDINGS) {
                    video::check_programs().map_err(|problem| DetectError::Video {
                        path: path.clone(),
                        problem,
                    })?;
                }
                found.add_file(path.clone(), name.into())?;
                continue;
            }
            found.add_folder(path, &below, 0)?;
        }
        if found.pictures.is_empty() && found.unreadable.is_empty() {
            return Err(DetectError::NoPictures {
                others: found.others,
            });
        }
        let mut pictures = found.pictures;
        let has_videos = pictures.iter().any(PictureFile::is_video);
        if let (false, Some(ids)) = (has_videos, numbers_in_names(&pictures)) {
            for (picture, id) in pictures.iter_mut().zip(ids) {
                picture.image_id = id;
            }
        }
        Ok(Self {
            pictures,
            others: found.others,
            unreadable: found.unreadable,
            decoding: Decoding::default(),
        })
    }

    /// Whether there are videos, whose frames have numbers of their own.
    pub fn has_videos(&self) -> bool {
        self.pictures.iter().any(PictureFile::is_video)
    }

    /// Leaves out videos; gives how many there were.
    ///
    /// # Errors
    ///
    /// If there is nothing else.
    pub fn leave_out_videos(&mut self) -> Result<usize, DetectError> {
        let all = self.pictures.len();
        self.pictures.retain(|picture| !picture.is_video());
        if self.pictures.is_empty() && all > 0 {
            return Err(DetectError::NoPictures { others: all as u64 });
        }
        Ok(all - self.pictures.len())
    }
}

impl PictureFile {
    fn is_video(&self) -> bool {
        self.source == Source::Video
    }
}

#[derive(Default)]
struct Found {
    pictures: Vec<PictureFile>,
    others: u64,
    unreadable: Vec<(PathBuf, String)>,
    skipped: Option<PathBuf>,
    /// Names of drawn pictures, in small letters, because some file systems do not tell large ones from them.
    taken: HashSet<OsString>,
    /// How many have had the same name so far.
    repeated: HashMap<OsString, u64>,
}

impl Found {
    fn add_file(&mut self, path: PathBuf, relative: PathBuf) -> Result<(), DetectError> {
        let source = if has_ending(&path, &VIDEO_ENDINGS) {
            Source::Video
        } else {
            Source::File
        };
        self.add(path, relative, source)
    }

    /// Adds the images of a TFRecord. What is damaged of it, and what follows, is as a folder that cannot be read.
    fn add_records(&mut self, path: &Path, below: &Path) -> Result<(), DetectError> {
        let problem = |error: &ReadError| {
            let separator = if error.place.is_empty() { "" } else { ": " };
            let problem = format!("{}{separator}{}", error.place, error.problem);
            (path.to_owned(), problem)
        };
        match example::read_names(path) {
            Err(error) => self.unreadable.push(problem(&error)),
            Ok(names) => {
                for one in names {
                    match one {
                        Err(error) => self.unreadable.push(problem(&error)),
                        Ok((place, name)) => {
                            let relative = below.join(file_name_of(&name));
                            self.add(name.into(), relative, Source::Record(place))?;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, path: PathBuf, relative: PathBuf, source: Source) -> Result<(), DetectError> {
        if self.pictures.len() >= MOST_PICTURES {
            return Err(DetectError::TooMany {
                limit: MOST_PICTURES,
            });
        }
        let drawn = self.free(drawn_name(relative));
        self.pictures.push(PictureFile {
            source,
            path,
            image_id: self.pictures.len() as u64 + 1,
            drawn,
        });
        Ok(())
    }

    /// A name that no other drawn picture has.
    fn free(&mut self, name: PathBuf) -> PathBuf {
        let lower = name.as_os_str().to_ascii_lowercase();
        if self.taken.insert(lower.clone()) {
            return name;
        }
        let stem = name.file_stem().unwrap_or_default().to_owned();
        loop {
            let number = self.repeated.entry(lower.clone()).or_insert(1);
            *number += 1;
            let mut other = stem.clone();
            other.push(format!("_{number}"));
            if let Some(ending) = name.extension() {
                other.push(".");
                other.push(ending);
            }
            let other = name.with_file_name(other);
            if self.taken.insert(other.as_os_str().to_ascii_lowercase()) {
                return other;
            }
        }
    }

    fn add_folder(&mut self, folder: &Path, below: &Path, depth: usize) -> Result<(), DetectError> {
        if self.is_skipped(folder) {
            return Ok(());
        }
        let mut problem = |error: &dyn std::fmt::Display| {
            self.unreadable.push((folder.to_owned(), error.to_string()));
        };
        if depth > DEEPEST {
            problem(&format!("it is in more than {DEEPEST} others"));
            return Ok(());
        }
        let entries = match sorted(folder) {
            Ok(entries) => entries,
            Err(error) => {
                problem(&error);
                return Ok(());
            }
        };
        for (name, kind) in entries {
            let (path, below) = (folder.join(&name), below.join(&name));
            if kind.is_dir() {
                self.add_folder(&path, &below, depth + 1)?;
            } else if is_taken(Path::new(&name)) && (kind.is_file() || path.is_file()) {
                self.add_file(path, below)?;
            } else {
                self.others += 1;
            }
        }
        Ok(())
    }

    fn is_skipped(&self, folder: &Path) -> bool {
        let skipped = self.skipped.as_ref();
        skipped.is_some_and(|skipped| fs::canonicalize(folder).is_ok_and(|real| real == *skipped))
    }
}

/// What is in a folder and does not begin with a dot.
fn sorted(folder: &Path) -> io::Result<Vec<(OsString, fs::FileType)>> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if !name.as_encoded_bytes().starts_with(b".") {
            entries.push((name, entry.file_type()?));
        }
    }
    entries.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(entries)
}

/// The name of a file for an image that a record calls so: the last part, without what file systems give a meaning.
fn file_name_of(name: &str) -> String {
    const LONGEST: usize = 128;
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let kept = last.chars().map(|letter| match letter {
        '<' | '>' | ':' | '"' | '|' | '?' | '*' => '_',
        letter if letter.is_control() => '_',
        letter => letter,
    });
    let kept: Vec<char> = kept.collect();
    // The end has what tells files apart.
    let mut kept: String = kept[kept.len().saturating_sub(LONGEST)..].iter().collect();
    // Four bytes a letter at most; names have 255.
    while kept.len() > 240 {
        kept.remove(0);
    }
    match kept.trim_matches(['.', ' ']) {
        "" => "picture".to_owned(),
        _ => kept,
    }
}

fn has_ending(name: &Path, endings: &[&str]) -> bool {
    let ending = name.extension().and_then(OsStr::to_str);
    let is = |ending: &str| endings.iter().any(|one| one.eq_ignore_ascii_case(ending));
    ending.is_some_and(is)
}

/// Whether a file in a folder is taken.
fn is_taken(name: &Path) -> bool {
    has_ending(name, &ENDINGS) || has_ending(name, &VIDEO_ENDINGS)
}

/// JPEG stays JPEG; other pictures are drawn as PNG, and videos as MP4.
fn drawn_name(relative: PathBuf) -> PathBuf {
    if is_jpeg(&relative) {
        return relative;
    }
    let mut name = relative.clone();
    if has_ending(&relative, &VIDEO_ENDINGS) {
        name.set_extension("mp4");
    } else if has_ending(&relative, &ENDINGS) {
        name.set_extension("png");
    } else {
        let mut with = relative.file_name().unwrap_or_default().to_owned();
        with.push(".png");
        name.set_file_name(with);
    }
    name
}

/// Whether a picture of this name is a JPEG.
pub(crate) fn is_jpeg(name: &Path) -> bool {
    has_ending(name, &["jpg", "jpeg"])
}

/// The numbers at the ends of names, as COCO's pictures have them (`COCO_val2014_000000000139.jpg`), if all have one and no two the same.
fn numbers_in_names(pictures: &[PictureFile]) -> Option<Vec<u64>> {
    let mut seen = HashSet::new();
    let number = |picture: &PictureFile| {
        let stem = picture.path.file_stem()?.to_str()?;
        let start = stem.trim_end_matches(|c: char| c.is_ascii_digit()).len();
        let is_alone = start == 0 || stem.get(..start)?.ends_with('_');
        let id: u64 = stem.get(start..)?.parse().ok()?;
        // Numbers beyond are not exact in programs that read JSON as floats.
        (is_alone && id < 1 << 53 && seen.insert(id)).then_some(id)
    };
    pictures.iter().map(number).collect()
}

/// A count of files for messages.
pub(crate) fn other_files(count: u64) -> String {
    match count {
        0 => String::new(),
        1 => "; there is another file".to_owned(),
        count => format!("; there are {count} other files"),
    }
}

/// What is shown of a folder that cannot be read.
pub(crate) fn shown_problem(path: &Path, problem: &str) -> String {
    format!("{}: cannot be read: {problem}", path.shown())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(listing: &Listing, root: &Path) -> Vec<(String, u64, String)> {
        let name = |path: &Path| path.to_str().unwrap().to_owned();
        let pictures = listing.pictures.iter();
        pictures
            .map(|picture| {
                let path = picture.path.strip_prefix(root).unwrap();
                (name(path), picture.image_id, name(&picture.drawn))
            })
            .collect()
    }

    fn touch(root: &Path, names: &[&str]) {
        for name in names {
            let path = root.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
    }

    fn expected(rows: &[(&str, u64, &str)]) -> Vec<(String, u64, String)> {
        let row = |(a, b, c): &(&str, u64, &str)| ((*a).to_owned(), *b, (*c).to_owned());
        rows.iter().map(row).collect()
    }

    #[test]
    fn folders_are_walked_in_order() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        touch(
            root,
            &[
                "a/2.jpg",
                "a/10.JPG",
                "a/b/x.bmp",
                "a/notes.txt",
                "a/.hidden.png",
                "a/.git/y.png",
                "a/out/drawn/2.jpg",
                "a/c.png",
                "a/c.gif",
                "a/v.MOV",
                "a/v.mp4",
            ],
        );
        let mut listing = Listing::of(&[root.join("a")], Some(&root.join("a/out"))).unwrap();
        let rows = [
            // Where there is a video, no number is taken from a name.
            ("a/10.JPG", 1, "10.JPG"),
            ("a/2.jpg", 2, "2.jpg"),
            ("a/b/x.bmp", 3, "b/x.png"),
            ("a/c.gif", 4, "c.png"),
            ("a/c.png", 5, "c_2.png"),
            ("a/v.MOV", 6, "v.mp4"),
            ("a/v.mp4", 7, "v_2.mp4"),
        ];
        assert_eq!(names(&listing, root), expected(&rows));
        assert_eq!((listing.others, listing.unreadable.len()), (1, 0));
        assert!(listing.has_videos());
        assert_eq!(listing.leave_out_videos().unwrap(), 2);
        assert!(!listing.has_videos() && listing.pictures.len() == 5);
    }

    #[test]
    fn several_folders_have_their_own() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        touch(root, &["a/x_7.jpg", "b/x_9.jpg", "x_11"]);
        let given = ["a", "b", "x_11"].map(|name| root.join(name));
        let listing = Listing::of(&given, None).unwrap();
        let rows = [
            ("a/x_7.jpg", 7, "a/x_7.jpg"),
            ("b/x_9.jpg", 9, "b/x_9.jpg"),
            ("x_11", 11, "x_11.png"),
        ];
        assert_eq!(names(&listing, root), expected(&rows));
        // The same number twice is no number of a picture.
        touch(root, &["b/x_07.jpg"]);
        let listing = Listing::of(&given, None).unwrap();
        let ids: Vec<u64> = listing
            .pictures
            .iter()
            .map(|picture| picture.image_id)
            .collect();
        assert_eq!(ids, [1, 2, 3, 4]);
        // And a name may be given twice.
        let twice = [root.join("x_11"), root.join("x_11")];
        let listing = Listing::of(&twice, None).unwrap();
        assert_eq!(listing.pictures[1].drawn, Path::new("x_11_2.png"));
    }

    #[test]
    fn what_is_not_there_is_named() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        touch(root, &["a/notes.txt"]);
        let problem = Listing::of(&[root.join("a")], None)
            .unwrap_err()
            .to_string();
        assert!(problem.contains("there is another file"), "{problem}");
        let problem = Listing::of(&[root.join("b")], None)
            .unwrap_err()
            .to_string();
        assert!(
            problem.starts_with(root.join("b").to_str().unwrap()),
            "{problem}"
        );
    }

    #[test]
    fn names_in_records_stay_in_the_folder() {
        for (name, expected) in [
            ("a/b/c.jpg", "c.jpg"),
            ("../../c.jpg", "c.jpg"),
            ("c:\\x\\d*.png", "d_.png"),
            ("..", "picture"),
            ("a/", "picture"),
            ("x\0y\n.jpg", "x_y_.jpg"),
            ("/etc/passwd", "passwd"),
        ] {
            assert_eq!(file_name_of(name), expected);
        }
        let long = format!("{}.jpg", "\u{1f600}".repeat(500));
        let short = file_name_of(&long);
        assert!(short.len() <= 240 && is_jpeg(Path::new(&short)), "{short}");
    }

    #[cfg(unix)]
    #[test]
    fn links_to_folders_are_not_followed() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        touch(root, &["a/1.jpg", "c.jpg"]);
        std::os::unix::fs::symlink(root.join("a"), root.join("a/loop")).unwrap();
        std::os::unix::fs::symlink(root.join("c.jpg"), root.join("a/link.jpg")).unwrap();
        std::os::unix::fs::symlink(root.join("nothing"), root.join("a/broken.jpg")).unwrap();
        let listing = Listing::of(&[root.join("a")], None).unwrap();
        let paths: Vec<_> = listing
            .pictures
            .iter()
            .map(|picture| &picture.drawn)
            .collect();
        assert_eq!(paths, [Path::new("1.jpg"), Path::new("link.jpg")]);
        assert_eq!(listing.others, 2);
    }
}
