//! Reading label maps through the public interface.

#![expect(clippy::panic, reason = "helpers of tests fail by panicking")]

use tfod_config::{ConfigError, LabelMap, Problem};

fn parse(text: &str) -> LabelMap {
    LabelMap::parse("map.pbtxt", text.as_bytes()).unwrap_or_else(|error| panic!("{error}"))
}

fn problem<T>(result: Result<T, ConfigError>) -> (usize, Problem) {
    match result {
        Err(ConfigError::Text(diagnostic)) => (diagnostic.line, diagnostic.problem),
        Err(other) => panic!("expected a place, found {other:?}"),
        Ok(_) => panic!("expected an error"),
    }
}

#[test]
fn classes_are_named_by_display_name_then_name() {
    let map = parse(
        "item { id: 2 name: '/m/01' display_name: 'dog' }\n\
         item { id: 1 name: 'cat' }\n\
         item { id: 4 name: 'wolf' }\n\
         item { id: 3 }\n\
         item { id: 0 name: 'background' }",
    );
    let names: Vec<(i32, &str)> = map.class_names().into_iter().collect();
    assert_eq!(names, [(1, "cat"), (2, "dog"), (3, ""), (4, "wolf")]);
    assert_eq!(map.items().len(), 5);
}

#[test]
fn an_id_that_two_items_have_is_refused_where_the_second_stands() {
    let (line, found) = problem(LabelMap::parse(
        "test",
        b"item { id: 1 name: 'cat' }\nitem { id: 2 name: 'dog' }\nitem { id: 1 name: 'cow' }\n",
    ));
    let expected = Problem::DuplicateId {
        id: 1,
        first: "cat".to_owned(),
        second: "cow".to_owned(),
    };
    assert_eq!((line, found), (3, expected));
}

#[test]
fn ids_below_one_are_refused_where_they_stand() {
    for (text, line, expected) in [
        (
            "item { id: 1 }\nitem {\n id: -4 }",
            2,
            Problem::NegativeId { id: -4 },
        ),
        (
            "item { id: 1 }\n\nitem { id: 0 name: 'a' }",
            3,
            Problem::ReservedId { given: true },
        ),
        (
            "item: [{ id: 1 },\n{ name: 'a' }]",
            2,
            Problem::ReservedId { given: false },
        ),
    ] {
        assert_eq!(
            problem(LabelMap::parse("map.pbtxt", text.as_bytes())),
            (line, expected)
        );
    }
}

#[test]
fn damage_is_an_error() {
    let (line, found) = problem(LabelMap::parse("map.pbtxt", b"item {\n nmae: 'a' }"));
    assert_eq!(line, 2);
    assert!(matches!(found, Problem::UnknownField { nearest, .. } if nearest == ["name"]));
}

#[test]
fn keypoints_of_all_classes_form_one_list() {
    let map = parse(
        "item { id: 1 keypoints { id: 0 label: 'nose' } keypoints { id: 1 label: 'left_eye' } }\n\
         item { id: 2 keypoints { id: 2 label: 'wheel' } }",
    );
    let ids: Vec<(&str, i32)> = map
        .keypoint_ids()
        .expect("distinct keypoints")
        .into_iter()
        .collect();
    assert_eq!(ids, [("left_eye", 1), ("nose", 0), ("wheel", 2)]);
}

#[test]
fn keypoints_that_share_a_label_or_an_id_are_refused() {
    let label = parse(
        "item { id: 1 keypoints { id: 0 label: 'a' } }\nitem { id: 2 keypoints { id: 1 label: 'a' } }",
    );
    assert_eq!(
        problem(label.keypoint_ids()),
        (
            2,
            Problem::DuplicateKeypointLabel {
                label: "a".to_owned()
            }
        )
    );
    let id = parse("item { id: 1 keypoints { id: 4 label: 'a' } keypoints { id: 4 label: 'b' } }");
    assert_eq!(
        problem(id.keypoint_ids()),
        (
            1,
            Problem::DuplicateKeypointId {
                label: "b".to_owned(),
                id: 4
            }
        )
    );
}
