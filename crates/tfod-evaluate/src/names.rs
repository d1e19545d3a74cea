//! Which image of a dataset a file of a picture is.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::path::Path;

use crate::dataset::Dataset;

/// The images of a dataset by the names of their files.
#[derive(Clone, Debug)]
pub struct ImageNames {
    /// The images, by the last part of their names, and by that without its ending.
    whole: HashMap<String, Vec<usize>>,
    stems: HashMap<String, Vec<usize>>,
    paths: Vec<String>,
}

fn last(name: &str) -> &str {
    name.rsplit(['/', '\\']).next().unwrap_or(name)
}

fn stem(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(stem, _)| stem)
}

impl ImageNames {
    /// Those of a dataset.
    pub fn of(dataset: &Dataset) -> Self {
        let mut names = Self {
            whole: HashMap::new(),
            stems: HashMap::new(),
            paths: Vec::with_capacity(dataset.images.len()),
        };
        for (index, image) in dataset.images.iter().enumerate() {
            let name = last(&image.file_name);
            if !name.is_empty() {
                names.whole.entry(name.to_owned()).or_default().push(index);
                let stems = names.stems.entry(stem(name).to_owned());
                stems.or_default().push(index);
            }
            names.paths.push(image.file_name.replace('\\', "/"));
        }
        names
    }

    /// The place of the image among those of the dataset: the one of the same name, or where several have it, of the same folders; else the one whose name is
    /// the same without its ending.
    ///
    /// # Errors
    /// The names of images among which it cannot be told which it is.
    pub fn find(&self, file: &Path) -> Result<Option<usize>, Vec<&str>> {
        let Some(name) = file.file_name().and_then(OsStr::to_str) else {
            return Ok(None);
        };
        let candidates = match self.whole.get(name) {
            Some(candidates) => candidates,
            None => match self.stems.get(stem(name)) {
                Some(candidates) => candidates,
                None => return Ok(None),
            },
        };
        if let [only] = candidates[..] {
            return Ok(Some(only));
        }
        let below = |index: &usize| file.ends_with(&self.paths[*index]);
        let mut same: Vec<usize> = candidates.iter().copied().filter(|i| below(i)).collect();
        // The one of the most folders: `b/c.jpg` rather than `c.jpg`.
        same.sort_by_key(|&index| std::cmp::Reverse(self.paths[index].len()));
        match same[..] {
            [only] => Ok(Some(only)),
            [first, second, ..] if self.paths[first].len() > self.paths[second].len() => {
                Ok(Some(first))
            }
            _ => Err(candidates
                .iter()
                .map(|&index| &*self.paths[index])
                .collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::Image;

    fn names(files: &[&str]) -> ImageNames {
        let images = files.iter().zip(1..).map(|(file, id)| Image {
            id,
            file_name: (*file).to_owned(),
            size: None,
        });
        ImageNames::of(&Dataset {
            images: images.collect(),
            ..Dataset::default()
        })
    }

    #[test]
    fn an_image_is_found_by_its_name_and_its_folders() {
        let names = names(&["a/1.jpg", "b/1.jpg", "2.jpg", "c\\3.jpg", "4", "", "1.jpg"]);
        let find = |file: &str| names.find(Path::new(file));
        assert_eq!(find("x/a/1.jpg"), Ok(Some(0)));
        assert_eq!(find("b/1.jpg"), Ok(Some(1)));
        assert_eq!(find("x/2.jpg"), Ok(Some(2)));
        assert_eq!(find("x/2.png"), Ok(Some(2)));
        assert_eq!(find("3.jpg"), Ok(Some(3)));
        assert_eq!(find("4.jpeg"), Ok(Some(4)));
        assert_eq!(find("5.jpg"), Ok(None));
        assert_eq!(find("x/1.jpg"), Ok(Some(6)));
        assert_eq!(find("1.png"), Err(vec!["a/1.jpg", "b/1.jpg", "1.jpg"]));
    }
}
