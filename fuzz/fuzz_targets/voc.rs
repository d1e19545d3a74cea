//! Pascal VOC's XML: no panic, and what is read is evaluated.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tfod_evaluate::{Labels, evaluate, voc};
use tfod_fuzz::{judge, scratch};

fuzz_target!(|bytes: &[u8]| {
    let folder = scratch().join("voc");
    std::fs::create_dir_all(&folder).expect("the folder can be made");
    std::fs::write(folder.join("a.xml"), bytes).expect("the folder can be written");
    let labels: Labels = [("cat".to_owned(), 1), ("dog".to_owned(), 2)].into();
    for labels in [None, Some(&labels)] {
        match voc::read_folder(&folder, labels) {
            Ok(dataset) => judge(&dataset, |kind| evaluate(&dataset, &[], kind)),
            Err(error) => assert!(!error.problem.is_empty()),
        }
    }
});
