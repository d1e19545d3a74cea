//! What was found, as files.
//!
//! ```text
//! DIR/
//!   drawn/             the pictures with what was found in them
//!   detections.jsonl   a line of JSON for each picture
//!   coco_results.json  as COCO's evaluation reads results
//!   detections.csv     a row for each detection
//!   detect.json        what was done, and the record of what was written
//! ```
//!
//! All is written beside and put in place by renaming. What is there under these names is replaced only if the record says that it was written here.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value, json};
use tfod::{OutputError, Scratch};
use tfod_image::Encoding;
use tfod_inspect::manifest;

use crate::draw::Drawing;
use crate::pictures::is_jpeg;
use crate::video::{DrawnSound, Encoder, Video};
use crate::{ClassNames, DetectError, Detection, KeypointNames, PictureFile};

const DRAWN: &str = "drawn";
const LINES: &str = "detections.jsonl";
const COCO: &str = "coco_results.json";
const TABLE: &str = "detections.csv";
const RECORD: &str = "detect.json";
/// All that is ever written.
const ITEMS: [&str; 5] = [DRAWN, LINES, COCO, TABLE, RECORD];
/// The member by which a record is known, and the version of its form.
const MARK: &str = "tfod_detect";
const VERSION: u32 = 1;

/// The quality of drawn JPEGs: text stays sharp.
const QUALITY: u8 = 92;

/// A kind of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Pictures with what was found in them.
    Drawn,
    /// JSON lines.
    Lines,
    /// COCO's results.
    Coco,
    /// CSV.
    Table,
}

impl Kind {
    /// All.
    pub const ALL: [Self; 4] = [Self::Drawn, Self::Lines, Self::Coco, Self::Table];

    /// The name of the file or folder.
    pub fn file(self) -> &'static str {
        match self {
            Self::Drawn => DRAWN,
            Self::Lines => LINES,
            Self::Coco => COCO,
            Self::Table => TABLE,
        }
    }
}

/// What was found in a picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The picture.
    pub file: PictureFile,
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
    /// The best first.
    pub detections: Vec<Detection>,
}

/// How detections are written.
#[derive(Clone, Copy, Debug)]
pub struct Names<'a> {
    /// What classes are called.
    pub classes: &'a ClassNames,
    /// What keypoints are called.
    pub keypoints: &'a KeypointNames,
}

/// A number as the shortest text that is the same 32-bit float.
pub(crate) fn number(value: f32) -> Value {
    let text = value.to_string();
    text.parse::<f64>()
        .map_or(Value::Null, |value| json!(value))
}

impl Found {
    /// A line of JSON: the picture, and its detections in pixels.
    pub fn json(&self, names: Names<'_>) -> Value {
        let detections = self.detections.iter();
        let detections: Vec<Value> = detections.map(|one| self.detection(one, names)).collect();
        let mut line = json!({
            "image": self.file.path.to_string_lossy(),
            "image_id": self.file.image_id,
            "width": self.width,
            "height": self.height,
            "detections": detections,
        });
        if let (Some(frame), Some(members)) = (self.file.frame(), line.as_object_mut()) {
            members.insert("frame".to_owned(), json!(frame.number));
            members.insert("time".to_owned(), json!(frame.time()));
        }
        if let (Some(place), Some(members)) = (self.file.record(), line.as_object_mut()) {
            let file = place.path.to_string_lossy();
            let record = json!({ "file": file, "number": place.number });
            members.insert("record".to_owned(), record);
        }
        line
    }

    fn detection(&self, one: &Detection, names: Names<'_>) -> Value {
        let sides = one.in_pixels(self.width, self.height);
        let mut members = json!({
            "class_id": one.class_id,
            "class": names.classes.get(one.class_id),
            "score": number(one.score),
            "box": {
                "xmin": number(sides.xmin),
                "ymin": number(sides.ymin),
                "xmax": number(sides.xmax),
                "ymax": number(sides.ymax),
            },
        });
        let Some(added) = members.as_object_mut() else {
            return members;
        };
        if let Some(mask) = self.mask(one) {
            added.insert("mask".to_owned(), mask);
        }
        if !one.keypoints.is_empty() {
            let keypoints = one.keypoints.iter().enumerate().map(|(place, keypoint)| {
                let [x, y] = keypoint.in_pixels(self.width, self.height);
                json!({
                    "name": names.keypoints.names.get(place),
                    "x": number(x),
                    "y": number(y),
                    "score": keypoint.score.map(number),
                })
            });
            added.insert("keypoints".to_owned(), keypoints.collect());
        }
        members
    }

    /// COCO's compressed run lengths of a mask.
    fn mask(&self, one: &Detection) -> Option<Value> {
        let mask = one.mask.as_ref()?;
        let placed = mask.placed(one.bounds, self.width, self.height);
        // A picture that was decoded is never too large.
        let runs = placed.rle().ok()?.to_compressed();
        Some(json!({ "size": [self.height, self.width], "counts": runs }))
    }

    /// An entry of COCO's results.
    fn coco(&self, one: &Detection) -> Value {
        let sides = one.in_pixels(self.width, self.height);
        let (width, height) = (sides.xmax - sides.xmin, sides.ymax - sides.ymin);
        let bbox = [sides.xmin, sides.ymin, width, height].map(number);
        let mut entry = Map::new();
        let mut add = |key: &str, value| entry.insert(key.to_owned(), value);
        add("image_id", json!(self.file.image_id));
        add("category_id", json!(one.class_id));
        add("bbox", json!(bbox));
        add("score", number(one.score));
        if let Some(mask) = self.mask(one) {
            add("segmentation", mask);
        }
        if !one.keypoints.is_empty() {
            let numbers = one.keypoints.iter().flat_map(|keypoint| {
                let [x, y] = keypoint.in_pixels(self.width, self.height);
                [number(x), number(y), json!(u8::from(keypoint.was_found()))]
            });
            add("keypoints", numbers.collect());
        }
        Value::Object(entry)
    }

    /// A row of the table for each detection.
    fn rows(&self, classes: &ClassNames) -> String {
        let image = field(&self.file.path.to_string_lossy());
        let frame = self.file.frame();
        let frame = frame.map_or_else(String::new, |frame| frame.number.to_string());
        let time = self.file.frame().map(|frame| frame.time().to_string());
        let time = time.unwrap_or_default();
        let row = |one: &Detection| {
            let sides = one.in_pixels(self.width, self.height);
            format!(
                "{image},{},{},{},{},{},{},{},{},{},{},{frame},{time}\n",
                self.file.image_id,
                self.width,
                self.height,
                one.class_id,
                field(classes.get(one.class_id).unwrap_or_default()),
                one.score,
                sides.xmin,
                sides.ymin,
                sides.xmax,
                sides.ymax
            )
        };
        self.detections.iter().map(row).collect()
    }
}

const COLUMNS: &str =
    "image,image_id,width,height,class_id,class,score,xmin,ymin,xmax,ymax,frame,time\n";

/// A field of CSV (RFC 4180), in quotes where it has to be.
fn field(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

/// The folder of results, while it is being written.
#[derive(Debug)]
pub struct Results {
    target: PathBuf,
    is_new: bool,
    scratch: Scratch,
    lines: Option<BufWriter<File>>,
    coco: Option<BufWriter<File>>,
    table: Option<BufWriter<File>>,
    is_drawn: bool,
    /// What was written, below the folder.
    written: Vec<String>,
    entries: u64,
    /// The drawn video that is being written, and what it is called.
    video: Option<(Encoder, Arc<Video>, PathBuf)>,
    /// What is heard in videos, one after another.
    sounds: Vec<Option<DrawnSound>>,
}

fn failed<'a>(path: &'a Path, action: &'static str) -> impl FnOnce(io::Error) -> OutputError + 'a {
    move |source| OutputError::System {
        path: path.to_owned(),
        action,
        source,
    }
}

impl Results {
    /// Begins files of these kinds, in a folder that is made at the end, or is there already.
    ///
    /// # Errors
    ///
    /// If something stands where they go that was not written here, or the system refuses.
    pub fn begin(target: &Path, kinds: &[Kind]) -> Result<Self, DetectError> {
        let is_new = target.symlink_metadata().is_err();
        let target = std::path::absolute(target).map_err(failed(target, "find"))?;
        let beside = if is_new {
            let parent = target.parent().unwrap_or(&target);
            fs::create_dir_all(parent).map_err(failed(parent, "make the folder"))?;
            parent
        } else {
            check(&target)?;
            &target
        };
        let scratch = Scratch::new_in(beside).map_err(failed(beside, "write into the folder"))?;
        let mut written = Vec::new();
        let mut open = |kind: Kind| {
            if !kinds.contains(&kind) {
                return Ok(None);
            }
            let path = scratch.content().join(kind.file());
            let file = File::create_new(&path).map_err(failed(&path, "write"))?;
            written.push(kind.file().to_owned());
            Ok::<_, OutputError>(Some(BufWriter::new(file)))
        };
        let (lines, mut coco, mut table) =
            (open(Kind::Lines)?, open(Kind::Coco)?, open(Kind::Table)?);
        put(&mut coco, &target.join(COCO), b"[")?;
        put(&mut table, &target.join(TABLE), COLUMNS.as_bytes())?;
        let is_drawn = kinds.contains(&Kind::Drawn);
        if is_drawn {
            let path = scratch.content().join(DRAWN);
            fs::create_dir(&path).map_err(failed(&path, "make the folder"))?;
        }
        Ok(Self {
            target,
            is_new,
            scratch,
            lines,
            coco,
            table,
            is_drawn,
            written,
            entries: 0,
            video: None,
            sounds: Vec::new(),
        })
    }

    /// Whether pictures are drawn.
    pub fn is_drawn(&self) -> bool {
        self.is_drawn
    }

    /// Writes what was found in a picture.
    ///
    /// # Errors
    ///
    /// If the system refuses.
    pub fn add(&mut self, found: &Found, names: Names<'_>) -> Result<(), DetectError> {
        let path = |file: &str| self.target.join(file);
        let (coco, lines, table) = (path(COCO), path(LINES), path(TABLE));
        if self.lines.is_some() {
            let mut line = found.json(names);
            if let (true, Some(members)) = (self.is_drawn, line.as_object_mut()) {
                let drawn = Path::new(DRAWN).join(&found.file.drawn);
                members.insert("drawn".to_owned(), json!(drawn.to_string_lossy()));
            }
            put(&mut self.lines, &lines, format!("{line}\n").as_bytes())?;
        }
        if self.coco.is_some() {
            for one in &found.detections {
                let comma = if self.entries > 0 { "," } else { "" };
                let entry = format!("{comma}\n{}", found.coco(one));
                put(&mut self.coco, &coco, entry.as_bytes())?;
                self.entries += 1;
            }
        }
        if self.table.is_some() {
            put(
                &mut self.table,
                &table,
                found.rows(names.classes).as_bytes(),
            )?;
        }
        Ok(())
    }

    /// Writes that a picture was passed over.
    ///
    /// # Errors
    ///
    /// If the system refuses.
    pub fn pass_over(&mut self, path: &Path, problem: &str) -> Result<(), DetectError> {
        let line = json!({ "image": path.to_string_lossy(), "error": problem });
        put(
            &mut self.lines,
            &self.target.join(LINES),
            format!("{line}\n").as_bytes(),
        )
    }

    /// Writes a drawn picture, or a drawn frame after those before.
    ///
    /// # Errors
    ///
    /// If the system refuses.
    pub fn add_drawing(
        &mut self,
        file: &PictureFile,
        drawing: &Drawing,
    ) -> Result<(), DetectError> {
        let relative = Path::new(DRAWN).join(&file.drawn);
        if let (Some((encoder, ..)), Some(_)) = (&mut self.video, file.frame()) {
            let shown = self.target.join(&relative);
            let added = encoder.add(drawing.rgb());
            return added.map_err(|problem| cannot_be_written(&shown, problem));
        }
        let path = self.scratch.content().join(&relative);
        let shown = self.target.join(&relative);
        make_folders_of(self.scratch.content(), &relative).map_err(failed(&shown, "write"))?;
        if let Some(frame) = file.frame() {
            let encoder = Encoder::begin(&frame.video, drawing.size(), &path);
            let encoder = encoder.map_err(|problem| cannot_be_written(&shown, problem))?;
            self.video = Some((encoder, Arc::clone(&frame.video), relative));
            return self.add_drawing(file, drawing);
        }
        let made = File::create_new(&path).map_err(failed(&shown, "write"))?;
        let mut to = BufWriter::new(made);
        let encoding = if is_jpeg(&file.drawn) {
            Encoding::Jpeg(QUALITY)
        } else {
            Encoding::Png
        };
        let written = tfod_image::encode(drawing.rgb(), drawing.size(), encoding, &mut to);
        written
            .and_then(|()| to.flush())
            .map_err(failed(&shown, "write"))?;
        self.written.push(relative.to_string_lossy().into_owned());
        Ok(())
    }

    /// Writes the end of a drawn video, and its sound.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn end_video(&mut self) -> Result<(), DetectError> {
        let mut sound = None;
        if let Some((encoder, video, relative)) = self.video.take() {
            let shown = self.target.join(&relative);
            let finished = encoder.finish(&video);
            sound = Some(finished.map_err(|problem| cannot_be_written(&shown, problem))?);
            self.written.push(relative.to_string_lossy().into_owned());
        }
        self.sounds.push(sound);
        Ok(())
    }

    /// What is heard in the videos that were ended; `None` of one that was not drawn.
    pub(crate) fn take_sounds(&mut self) -> Vec<Option<DrawnSound>> {
        std::mem::take(&mut self.sounds)
    }

    /// Puts all in place, with a record of it.
    ///
    /// # Errors
    ///
    /// If the system refuses, or something was put in the way meanwhile.
    pub fn finish(mut self, mut summary: Value) -> Result<(), DetectError> {
        let end: &[u8] = if self.entries > 0 { b"\n]\n" } else { b"]\n" };
        put(&mut self.coco, &self.target.join(COCO), end)?;
        let files = [
            (LINES, &mut self.lines),
            (COCO, &mut self.coco),
            (TABLE, &mut self.table),
        ];
        for (name, file) in files {
            if let Some(file) = file {
                let path = self.target.join(name);
                file.flush().map_err(failed(&path, "write"))?;
            }
        }
        if let Some(members) = summary.as_object_mut() {
            members.insert(MARK.to_owned(), json!(VERSION));
            self.written.push(RECORD.to_owned());
            members.insert("files".to_owned(), json!(self.written));
        }
        let path = self.scratch.content().join(RECORD);
        let shown = self.target.join(RECORD);
        fs::write(&path, format!("{summary:#}\n")).map_err(failed(&shown, "write"))?;
        if self.is_new && self.scratch.become_folder(&self.target)? {
            return Ok(());
        }
        let check = || check(&self.target);
        self.scratch.put_in_place(&self.target, &ITEMS, check)
    }
}

/// Makes the folders in which a file goes, but not the one that they are in: where that has been removed, because a signal ends the command, it stays so.
fn make_folders_of(root: &Path, relative: &Path) -> io::Result<()> {
    let folders = relative.parent().into_iter().flat_map(Path::ancestors);
    let folders: Vec<&Path> = folders.filter(|one| *one != Path::new("")).collect();
    folders.into_iter().rev().try_for_each(|folder| {
        let made = fs::create_dir(root.join(folder));
        made.or_else(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => Ok(()),
            _ => Err(error),
        })
    })
}

fn cannot_be_written(path: &Path, problem: String) -> DetectError {
    DetectError::Video {
        path: path.to_owned(),
        problem: format!("cannot be written: {problem}"),
    }
}

fn put(to: &mut Option<BufWriter<File>>, path: &Path, bytes: &[u8]) -> Result<(), DetectError> {
    if let Some(to) = to {
        to.write_all(bytes).map_err(failed(path, "write"))?;
    }
    Ok(())
}

/// Refuses a folder in which something that is not of an earlier run stands where results go.
fn check(target: &Path) -> Result<(), DetectError> {
    let in_the_way = |path: &Path, expected, found| {
        let path = path.to_owned();
        Err(OutputError::InTheWay {
            path,
            expected,
            found,
        }
        .into())
    };
    if !target.is_dir() {
        return in_the_way(target, "a folder, or nothing", "something else");
    }
    let there = ITEMS.map(|item| target.join(item)).into_iter();
    let there: Vec<PathBuf> = there
        .filter(|path| path.symlink_metadata().is_ok())
        .collect();
    let Some(first) = there.first() else {
        return Ok(());
    };
    let record = manifest(&target.join(RECORD));
    let record = record.filter(|record| record.get(MARK).is_some_and(Value::is_u64));
    let Some(record) = record else {
        let found = "something that no record of an earlier run (detect.json) tells of";
        return in_the_way(first, "nothing", found);
    };
    let files = record.get("files").and_then(Value::as_array);
    let files = files.into_iter().flatten().filter_map(Value::as_str);
    let files: HashSet<&str> = files.collect();
    let mut left: Vec<PathBuf> = there;
    while let Some(path) = left.pop() {
        let relative = path.strip_prefix(target).unwrap_or(&path);
        let kind = path.symlink_metadata().map_err(failed(&path, "read"))?;
        let is_drawn = relative.starts_with(DRAWN);
        if kind.is_dir() && is_drawn {
            for entry in fs::read_dir(&path).map_err(failed(&path, "read the folder"))? {
                left.push(entry.map_err(failed(&path, "read the folder"))?.path());
            }
        } else if !kind.is_file() || !files.contains(&*relative.to_string_lossy()) {
            let found = "something that an earlier run did not write";
            return in_the_way(&path, "what an earlier run wrote, or nothing", found);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tfod_image::Picture;

    use super::*;
    use crate::mask::Cells;
    use crate::pictures::Source;
    use crate::{Keypoint, Mask, draw};

    fn found() -> Found {
        let cells = Cells::Certain(vec![true, true, true, false]);
        Found {
            file: PictureFile {
                path: "a/x,1.jpg".into(),
                image_id: 7,
                drawn: "b/x,1.jpg".into(),
                source: Source::File,
            },
            width: 8,
            height: 4,
            detections: vec![Detection {
                class_id: 2,
                score: 0.9,
                bounds: [0.0, 0.125, 0.5, 0.5],
                mask: Mask::new(2, 2, cells),
                keypoints: vec![Keypoint {
                    y: 0.25,
                    x: 0.5,
                    score: Some(0.0),
                }],
            }],
        }
    }

    fn written(target: &Path, kinds: &[Kind]) -> Result<(), DetectError> {
        let mut results = Results::begin(target, kinds)?;
        let (found, classes) = (found(), ClassNames::default());
        let keypoints = KeypointNames::default();
        let names = Names {
            classes: &classes,
            keypoints: &keypoints,
        };
        results.add(&found, names)?;
        results.add(&found, names)?;
        results.pass_over(Path::new("broken.png"), "no picture")?;
        if results.is_drawn() {
            let picture = Picture::from_rgb("x".as_ref(), 8, 4, vec![9; 96]).unwrap();
            let drawing = draw(&picture, &found.detections, &classes, &keypoints);
            results.add_drawing(&found.file, &drawing)?;
        }
        results.finish(json!({ "pictures": 2 }))
    }

    fn read(path: &Path) -> String {
        fs::read_to_string(path).unwrap()
    }

    fn json(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn every_file_says_the_same() {
        let root = tempfile::tempdir().unwrap();
        let target = root.path().join("new/out");
        written(&target, &Kind::ALL).unwrap();
        let lines = read(&target.join(LINES));
        let lines: Vec<Value> = lines.lines().map(json).collect();
        assert_eq!(lines.len(), 3);
        assert_eq!(
            lines[0],
            json!({
                "image": "a/x,1.jpg", "image_id": 7, "width": 8, "height": 4, "drawn": "drawn/b/x,1.jpg",
                "detections": [{
                    "class_id": 2, "class": null, "score": 0.9,
                    "box": { "xmin": 1.0, "ymin": 0.0, "xmax": 4.0, "ymax": 2.0 },
                    "mask": { "size": [4, 8], "counts": lines[0]["detections"][0]["mask"]["counts"] },
                    "keypoints": [{ "name": null, "x": 4.0, "y": 1.0, "score": 0.0 }],
                }],
            })
        );
        assert_eq!(
            lines[2],
            json!({ "image": "broken.png", "error": "no picture" })
        );
        let coco = json(&read(&target.join(COCO)));
        let entry = json!({
            "image_id": 7, "category_id": 2, "bbox": [1.0, 0.0, 3.0, 2.0], "score": 0.9,
            "segmentation": lines[0]["detections"][0]["mask"], "keypoints": [4.0, 1.0, 0],
        });
        assert_eq!(coco, json!([entry, entry]));
        let row = "\"a/x,1.jpg\",7,8,4,2,,0.9,1,0,4,2,,\n";
        assert_eq!(read(&target.join(TABLE)), format!("{COLUMNS}{row}{row}"));
        let record = json(&read(&target.join(RECORD)));
        assert_eq!(record["pictures"], 2);
        let files = json!([LINES, COCO, TABLE, "drawn/b/x,1.jpg", RECORD]);
        assert_eq!(record["files"], files);
    }

    #[test]
    fn results_replace_results_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let target = root.path();
        fs::write(target.join("notes.txt"), "mine").unwrap();
        written(target, &Kind::ALL).unwrap();
        let drawn = target.join("drawn/b/x,1.jpg");
        assert!(drawn.is_file());
        // What is not written this time is of another run, and goes.
        written(target, &[Kind::Coco]).unwrap();
        let mut names: Vec<String> = fs::read_dir(target)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort_unstable();
        assert_eq!(names, [COCO, RECORD, "notes.txt"]);

        let refused = |path: &Path| {
            let problem = written(target, &Kind::ALL).unwrap_err().to_string();
            assert!(problem.starts_with(path.to_str().unwrap()), "{problem}");
        };
        let table = target.join(TABLE);
        fs::write(&table, "mine").unwrap();
        refused(&table);
        fs::remove_file(&table).unwrap();
        written(target, &Kind::ALL).unwrap();
        let foreign = target.join("drawn/b/mine.jpg");
        fs::write(&foreign, "mine").unwrap();
        refused(&foreign);
        assert_eq!(read(&foreign), "mine");
        fs::remove_file(&foreign).unwrap();
        fs::write(target.join(RECORD), "{}").unwrap();
        refused(&target.join(DRAWN));
        assert!(drawn.is_file());
        fs::write(root.path().join("file"), "").unwrap();
        assert!(written(&root.path().join("file"), &Kind::ALL).is_err());
    }

    #[test]
    fn a_folder_that_was_removed_is_not_made_again() {
        let root = tempfile::tempdir().unwrap();
        let content = root.path().join("content");
        fs::create_dir(&content).unwrap();
        for _ in 0..2 {
            make_folders_of(&content, "drawn/a/b.jpg".as_ref()).unwrap();
        }
        assert!(content.join("drawn/a").is_dir() && !content.join("drawn/a/b.jpg").exists());
        fs::remove_dir_all(&content).unwrap();
        let problem = make_folders_of(&content, "drawn/a/b.jpg".as_ref()).unwrap_err();
        assert_eq!(problem.kind(), io::ErrorKind::NotFound);
        assert!(!content.exists());
    }

    #[test]
    fn nothing_found_is_an_empty_list() {
        let root = tempfile::tempdir().unwrap();
        let target = root.path().join("out");
        let results = Results::begin(&target, &[Kind::Coco]).unwrap();
        assert!(!target.exists());
        results.finish(json!({})).unwrap();
        assert_eq!(json(&read(&target.join(COCO))), json!([]));
        // What is dropped leaves nothing.
        drop(Results::begin(&root.path().join("other"), &Kind::ALL).unwrap());
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
    }
}
