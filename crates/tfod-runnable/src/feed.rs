//! What becomes of images on the way into a model.

use serde_json::Value;
use tfod_image::{ImageError, LARGEST_SIDE, MOST_PIXELS, Picture};
use tfod_inspect::{Dim, Port, StoredType};
use tfod_runtime::{Tensor, Values};

/// How images become the input of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Feed {
    /// Whether channels come before rows; `None` where the model does not say.
    is_channels_first: Option<bool>,
    is_float: bool,
    /// How many images, where the model takes one number of them.
    batch: Option<usize>,
    /// Where the model has one.
    height: Option<u32>,
    /// Where the model has one.
    width: Option<u32>,
    /// What each channel is multiplied with, and what is added then.
    normalisation: Option<[[f32; 3]; 2]>,
}

impl Feed {
    /// Reads it from what a model says of its input; else why it takes no images.
    ///
    /// # Errors
    ///
    /// If it takes none: a sentence that begins with a verb, whose subject is the model.
    pub fn of(port: &Port) -> Result<Self, String> {
        let takes_none = || {
            format!(
                "has an input `{}`, {} {}; expected images, uint8 or float32, [batch, height, width, 3] or [batch, 3, height, width], with sizes from 1 to {LARGEST_SIDE}",
                port.key,
                port.dtype.map_or("unknown", StoredType::name),
                port.shape_text()
            )
        };
        let is_float = match port.dtype {
            Some(StoredType::Float32) => true,
            Some(StoredType::UInt8) => false,
            _ => return Err(takes_none()),
        };
        let open = Dim::Unknown(String::new());
        let (batch, second, third, fourth) = match port.shape.as_deref() {
            Some([batch, second, third, fourth]) => (batch, second, third, fourth),
            None => (&open, &open, &open, &open),
            Some(_) => return Err(takes_none()),
        };
        let (is_channels_first, height, width) = match (second, fourth) {
            (_, Dim::Known(3)) => (Some(false), second, third),
            (Dim::Known(3), _) => (Some(true), third, fourth),
            (Dim::Unknown(_), Dim::Unknown(_)) => (None, &open, &open),
            _ => return Err(takes_none()),
        };
        let known = |dim: &Dim| match dim {
            Dim::Known(size) => {
                let size = u32::try_from(*size).ok();
                let size = size.filter(|size| (1..=LARGEST_SIDE).contains(size));
                size.map(Some).ok_or_else(takes_none)
            }
            Dim::Unknown(_) => Ok(None),
        };
        Ok(Self {
            is_channels_first,
            is_float,
            batch: known(batch)?.map(|batch| batch as usize),
            height: known(height)?,
            width: known(width)?,
            normalisation: None,
        })
    }

    /// The feed of a model whose caller normalises images, as the model's metadata says.
    ///
    /// # Errors
    ///
    /// If it does not say how, or the model takes bytes.
    pub fn normalised(self, preprocessing: &Value) -> Result<Self, String> {
        let steps = preprocessing.get("steps").and_then(Value::as_array);
        let step = steps.and_then(|steps| {
            let is_it = |step: &&Value| step.get("step").is_some_and(|name| name == "normalize");
            steps.iter().find(is_it)
        });
        let numbers = |key| -> Option<[f32; 3]> {
            let numbers = step?.get(key)?.as_array()?.iter();
            #[expect(clippy::cast_possible_truncation, reason = "written from 32 bits")]
            let numbers: Option<Vec<f32>> = numbers.map(|n| n.as_f64().map(|n| n as f32)).collect();
            numbers?.try_into().ok()
        };
        match (numbers("scale"), numbers("shift")) {
            (Some(scale), Some(shift)) if self.is_float => Ok(Self {
                normalisation: Some([scale, shift]),
                ..self
            }),
            _ => Err(
                "leaves preprocessing to its caller, and its metadata does not say how to do it"
                    .to_owned(),
            ),
        }
    }

    /// What one of two models leaves open as the other has it, so that both get the same.
    ///
    /// # Errors
    ///
    /// Why they cannot.
    pub fn agree([a, b]: [Self; 2]) -> Result<[Self; 2], String> {
        let filled = |feed: &Self, other: &Self| Self {
            is_channels_first: feed.is_channels_first.or(other.is_channels_first),
            batch: feed.batch.or(other.batch),
            height: feed.height.or(other.height),
            width: feed.width.or(other.width),
            ..feed.clone()
        };
        let feeds = [filled(&a, &b), filled(&b, &a)];
        let [a, b] = &feeds;
        let given = |feed: &Self| match feed.normalisation {
            Some([scale, shift]) => format!("the image times {scale:?} plus {shift:?}"),
            None => "the image as it is".to_owned(),
        };
        if a.normalisation != b.normalisation {
            let (a, b) = (given(a), given(b));
            return Err(format!(
                "by their metadata, the first takes {a}, the second {b}"
            ));
        }
        if a.is_channels_first.is_none() {
            return Err("neither says which dimension of its input is that of channels".to_owned());
        }
        Ok(feeds)
    }

    /// How many images it is given at once.
    pub fn batch(&self) -> usize {
        self.batch.unwrap_or(1)
    }

    /// What is done to images beforehand.
    pub fn notes([a, b]: &[Self; 2]) -> Vec<String> {
        let size = |feed: &Self| (feed.height, feed.width);
        let text = |feed: &Self| {
            let side =
                |side: Option<u32>| side.map_or("its own".to_owned(), |side| side.to_string());
            format!("{}x{}", side(feed.height), side(feed.width))
        };
        let mut notes = Vec::new();
        if size(a) != size(b) {
            notes.push(format!(
                "images are resized for each: to {} and {}",
                text(a),
                text(b)
            ));
        } else if size(a) != (None, None) {
            notes.push(format!("images are resized to {}", text(a)));
        }
        if a.batch() != b.batch() {
            let note = "of each batch, which is the image repeated, the first results are compared";
            notes.push(note.to_owned());
        }
        if a.normalisation.is_some() {
            notes.push("images are normalised as the models' metadata says".to_owned());
        }
        notes
    }

    /// The feed of a model that is run by itself.
    ///
    /// # Errors
    ///
    /// If it does not say how images are laid out.
    pub fn alone(self) -> Result<Self, String> {
        let problem = "does not say which dimension of its input is that of channels";
        self.is_channels_first
            .is_some()
            .then_some(self)
            .ok_or_else(|| problem.to_owned())
    }

    /// How many images the model takes; `None` where it takes any number.
    pub fn fixed_batch(&self) -> Option<usize> {
        self.batch
    }

    /// Width and height of the input for an image of this size: the model's, where it has one.
    pub fn size(&self, (width, height): (u32, u32)) -> (u32, u32) {
        (self.width.unwrap_or(width), self.height.unwrap_or(height))
    }

    /// The input for an image: of this model's size, or else of its own.
    ///
    /// # Errors
    ///
    /// If a batch of it has too many pixels.
    pub fn tensor(&self, picture: &Picture) -> Result<Tensor, ImageError> {
        self.tensor_of(picture, &[])
    }

    /// The input for an image and others with the same [`Self::size`]. Where the model takes more, the last is repeated.
    ///
    /// # Errors
    ///
    /// If they are too many, have other sizes, or too many pixels together.
    pub fn tensor_of(&self, first: &Picture, others: &[&Picture]) -> Result<Tensor, ImageError> {
        let (width, height) = self.size(first.size());
        let pixels = u64::from(width) * u64::from(height);
        let count = 1 + others.len();
        let batch = self.batch.unwrap_or(count);
        if pixels
            .checked_mul(batch as u64)
            .is_none_or(|all| all > MOST_PIXELS)
        {
            let problem = format!(
                "a batch of {batch} images of {height}x{width} has too many pixels; the limit is {MOST_PIXELS}"
            );
            return Err(first.refused(problem));
        }
        let other = others
            .iter()
            .find(|other| self.size(other.size()) != (width, height));
        if let Some(other) = other {
            let problem = format!("expected an image of {width}x{height}, as others of its batch");
            return Err(other.refused(problem));
        }
        if count > batch {
            let problem = format!("the model takes {batch} images at once, and is given {count}");
            return Err(first.refused(problem));
        }
        let elements = 3 * usize::try_from(pixels).unwrap_or(0) * batch;
        let all = std::iter::once(first).chain(others.iter().copied());
        let values = if self.is_float {
            let [scale, shift] = self.normalisation.unwrap_or([[1.0; 3], [0.0; 3]]);
            let float =
                |channel: usize, byte: u8| f32::from(byte) * scale[channel] + shift[channel];
            Values::F32(self.elements(all, batch, elements, float))
        } else {
            Values::U8(self.elements(all, batch, elements, |_, byte| byte))
        };
        let (width, height) = (width as usize, height as usize);
        let shape = if self.is_channels_first == Some(true) {
            vec![batch, 3, height, width]
        } else {
            vec![batch, height, width, 3]
        };
        Tensor::new(shape, values).map_err(|error| first.refused(error.to_string()))
    }

    /// The elements of images, so many in all, each made of a channel's place and its byte; the last image is repeated until there are enough.
    fn elements<'a, T: Copy>(
        &self,
        pictures: impl Iterator<Item = &'a Picture>,
        batch: usize,
        elements: usize,
        element: impl Fn(usize, u8) -> T,
    ) -> Vec<T> {
        let (mut all, mut last) = (Vec::with_capacity(elements), 0);
        let mut count = 0;
        for picture in pictures {
            let (width, height) = self.size(picture.size());
            let rows = picture.rgb(width, height);
            last = all.len();
            count += 1;
            if self.is_channels_first == Some(true) {
                for channel in 0..3 {
                    let plane = rows.iter().skip(channel).step_by(3);
                    all.extend(plane.map(|byte| element(channel, *byte)));
                }
            } else {
                let bytes = rows.iter().enumerate();
                all.extend(bytes.map(|(index, byte)| element(index % 3, *byte)));
            }
        }
        let end = all.len();
        for _ in count..batch {
            all.extend_from_within(last..end);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn port(dtype: StoredType, shape: &[i64]) -> Port {
        let dim = |size: &i64| match u64::try_from(*size) {
            Ok(size) => Dim::Known(size),
            Err(_) => Dim::Unknown("n".to_owned()),
        };
        Port {
            key: "image".to_owned(),
            tensor: "image".to_owned(),
            dtype: Some(dtype),
            shape: Some(shape.iter().map(dim).collect()),
        }
    }

    /// One row of two pixels.
    fn picture() -> Picture {
        Picture::from_rgb("image".as_ref(), 2, 1, vec![1, 2, 3, 4, 5, 6]).unwrap()
    }

    fn tensor(feed: &Feed) -> Tensor {
        feed.tensor(&picture()).unwrap()
    }

    #[test]
    fn pixels_keep_their_places_and_channels() {
        let feed = |dtype, shape: &[i64]| Feed::of(&port(dtype, shape)).unwrap();
        let last = tensor(&feed(StoredType::UInt8, &[-1, -1, -1, 3]));
        assert_eq!(
            last,
            Tensor::new(vec![1, 1, 2, 3], Values::U8(vec![1, 2, 3, 4, 5, 6])).unwrap()
        );
        let first = tensor(&feed(StoredType::UInt8, &[2, 3, -1, -1]));
        let planes = [1, 4, 2, 5, 3, 6].repeat(2);
        assert_eq!(
            first,
            Tensor::new(vec![2, 3, 1, 2], Values::U8(planes)).unwrap()
        );
        let floats = tensor(&feed(StoredType::Float32, &[1, 1, 2, 3]));
        let numbers = vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        assert_eq!(
            floats,
            Tensor::new(vec![1, 1, 2, 3], Values::F32(numbers)).unwrap()
        );
        // Twice as high, once as wide.
        let resized = tensor(&feed(StoredType::UInt8, &[1, 2, -1, 3]));
        let twice = [1, 2, 3, 4, 5, 6].repeat(2);
        assert_eq!(
            resized,
            Tensor::new(vec![1, 2, 2, 3], Values::U8(twice)).unwrap()
        );
    }

    #[test]
    fn a_batch_is_of_images_of_one_size() {
        let feed = |shape: &[i64]| Feed::of(&port(StoredType::UInt8, shape)).unwrap();
        let [one, other] = [[1, 2, 3, 4, 5, 6], [7, 8, 9, 10, 11, 12]]
            .map(|rgb| Picture::from_rgb("image".as_ref(), 2, 1, rgb.to_vec()).unwrap());
        let all: Vec<u8> = (1..=12).collect();
        let any = feed(&[-1, -1, -1, 3]);
        assert_eq!(
            any.tensor_of(&one, &[&other]).unwrap(),
            Tensor::new(vec![2, 1, 2, 3], Values::U8(all.clone())).unwrap()
        );
        let repeated = [&all[..], &all[6..]].concat();
        let three = feed(&[3, -1, -1, 3]);
        assert_eq!(
            three.tensor_of(&one, &[&other]).unwrap(),
            Tensor::new(vec![3, 1, 2, 3], Values::U8(repeated)).unwrap()
        );
        let high = Picture::from_rgb("high".as_ref(), 1, 2, vec![0; 6]).unwrap();
        let problem = any.tensor_of(&one, &[&high]).unwrap_err().to_string();
        assert_eq!(
            problem,
            "high: expected an image of 2x1, as others of its batch"
        );
        assert!(any.tensor_of(&one, &[&other, &high]).is_err());
        let fixed = feed(&[1, 4, 4, 3]);
        assert!(fixed.tensor_of(&one, &[]).is_ok());
        let problem = fixed.tensor_of(&one, &[&high]).unwrap_err().to_string();
        assert_eq!(
            problem,
            "image: the model takes 1 images at once, and is given 2"
        );
    }

    #[test]
    fn every_channel_has_its_own_scale_and_shift() {
        let steps = json!({ "steps": [{ "step": "resize" }, {
            "step": "normalize", "scale": [1.0, 10.0, 100.0], "shift": [0.5, 0.25, 0.0],
        }] });
        let feed = |shape: &[i64]| Feed::of(&port(StoredType::Float32, shape)).unwrap();
        let last = feed(&[1, 1, 2, 3]).normalised(&steps).unwrap();
        let numbers = vec![1.5, 20.25, 300.0, 4.5, 50.25, 600.0];
        assert_eq!(
            tensor(&last),
            Tensor::new(vec![1, 1, 2, 3], Values::F32(numbers)).unwrap()
        );
        let first = feed(&[1, 3, 1, 2]).normalised(&steps).unwrap();
        let planes = vec![1.5, 4.5, 20.25, 50.25, 300.0, 600.0];
        assert_eq!(
            tensor(&first),
            Tensor::new(vec![1, 3, 1, 2], Values::F32(planes)).unwrap()
        );
        let plain = feed(&[1, 1, 2, 3]);
        let reason = Feed::agree([plain, last]).unwrap_err();
        assert!(
            reason.contains(
                "the first takes the image as it is, the second the image times [1.0, 10.0, 100.0]"
            ),
            "{reason}"
        );
        assert!(feed(&[1, 1, 2, 3]).normalised(&json!({})).is_err());
    }

    #[test]
    fn what_one_leaves_open_is_as_the_other_has_it() {
        let feed = |shape: &[i64]| Feed::of(&port(StoredType::UInt8, shape)).unwrap();
        let nothing = Feed::of(&Port {
            shape: None,
            ..port(StoredType::UInt8, &[])
        });
        let nothing = nothing.unwrap();
        let all = feed(&[2, 3, 8, 9]);
        assert_eq!(
            Feed::agree([nothing.clone(), all.clone()]).unwrap(),
            [all.clone(), all.clone()]
        );
        assert_eq!(
            Feed::agree([feed(&[-1, -1, 64, 3]), feed(&[-1, 32, -1, 3])]).unwrap()[1].width,
            Some(64)
        );
        assert!(Feed::agree([nothing.clone(), nothing]).is_err());
        for shape in [
            &[1, 4, 4][..],
            &[1, 4, 4, 1],
            &[1, 4, 0, 3],
            &[0, 4, 4, 3],
            &[1, 20_000, 4, 3],
        ] {
            let reason = Feed::of(&port(StoredType::UInt8, shape)).unwrap_err();
            assert!(reason.contains("has an input `image`, uint8"), "{reason}");
        }
        assert!(Feed::of(&port(StoredType::Int64, &[1, 4, 4, 3])).is_err());
        let large = feed(&[16_384, 16_384, 16_384, 3]).tensor(&picture());
        assert!(large.unwrap_err().to_string().contains("too many pixels"));
    }
}
