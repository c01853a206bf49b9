use super::{graph::Layers, *};

/// Returns the faults of a crate with these files, by module.
fn faults(files: &[(&str, &str)]) -> Vec<String> {
    layer_faults(files, &[])
}

/// Returns the faults of a crate with these layers.
fn layer_faults(files: &[(&str, &str)], layers: &Layers) -> Vec<String> {
    let mut modules = Modules::default();
    for (module, text) in files {
        let path = module.split("::").filter(|name| !name.is_empty());
        let path = path.map(str::to_owned).collect();
        modules
            .add(path, format!("{module}.rs").into(), text)
            .unwrap();
    }
    let mut faults = Vec::new();
    check_edges("it", &edges(&modules), layers, &mut faults);
    place("it", &modules.top(), layers, &mut faults);
    faults
}

#[test]
fn a_loop_is_reported_with_the_lines_of_its_imports() {
    let found = faults(&[
        ("", "mod a; mod b; mod c;"),
        ("a", "\nuse crate::b::B;\nstruct A;"),
        ("b", "fn b() { super::c::c() }\nstruct B;"),
        ("c", "use std::fmt;\nuse crate::{a::A as Other};\nfn c() {}"),
    ]);
    assert_eq!(
        found,
        ["`it` has an import loop: a.rs:2 -> b.rs:1 -> c.rs:2 -> a.rs:2 (a, b, c)"]
    );
}

#[test]
fn a_re_exported_name_counts_as_its_definers() {
    let found = faults(&[
        ("", "mod a; mod b; pub use a::A;\npub use b::*;"),
        ("a", "use crate::b::B;\npub struct A;"),
        ("b", "fn b(_: crate::A) {}\npub struct B;"),
    ]);
    assert_eq!(
        found,
        ["`it` has an import loop: a.rs:1 -> b.rs:1 -> a.rs:1 (a, b)"]
    );
}

#[test]
fn test_code_comments_and_strings_import_nothing() {
    let a = r"
        //! See [`crate::b::B`].
        use crate::b::B;
        #[cfg(test)]
        mod tests;
        #[cfg(all(test, unix))]
        use crate::{b::B as C, a};
    ";
    let b = r#"
        /* crate::a */
        const TEXT: &str = "crate::a::A";
        #[cfg(test)]
        #[derive(Debug)]
        pub(crate) struct Only(crate::a::A);
        #[cfg(test)]
        mod tests { use crate::a::A; }
        struct B { #[cfg(test)] a: crate::a::A, b: u8 }
    "#;
    assert!(faults(&[("", "mod a; mod b;"), ("a", a), ("b", b)]).is_empty());
    let seen = [b, "fn last(_: crate::a::A) {}"].concat();
    let found = faults(&[("", "mod a; mod b;"), ("a", a), ("b", &seen)]);
    assert_eq!(found.len(), 1, "{found:?}");
}

#[test]
fn a_directory_is_one_unit_for_the_modules_outside() {
    let found = faults(&[
        ("", "mod a; mod b;"),
        ("a", "mod x; mod y;"),
        ("a::x", "use crate::b::B;"),
        ("a::y", "pub struct Y;"),
        ("b", "use crate::a::y::Y;\npub struct B;"),
    ]);
    assert_eq!(
        found,
        ["`it` has an import loop: a::x.rs:1 -> b.rs:1 -> a::x.rs:1 (a, b)"]
    );
}

#[test]
fn a_directorys_file_may_re_export_but_not_use_its_importers() {
    let child = ("a::x", "use super::A;\npub struct X(A);");
    let used = "mod x;\npub use x::X;\npub struct A;\nfn f(_: X) {}";
    let re_exported = [
        "mod x;\npub use x::X;\npub struct A;",
        "mod x;\npub struct A;",
    ];
    for parent in re_exported {
        assert!(faults(&[("", "mod a;"), ("a", parent), child]).is_empty());
    }
    let found = faults(&[("", "mod a;"), ("a", used), child]);
    let expected = "`it` has an import loop: a::x.rs:1 -> a.rs:2 -> a::x.rs:1 (a::x, crate::a)";
    assert_eq!(found, [expected]);
}

#[test]
fn an_import_from_a_higher_layer_is_reported() {
    let files = [
        ("", "mod a; mod b; mod c;"),
        ("a", "use crate::b::B;"),
        ("b", "pub struct B;"),
        ("c", ""),
    ];
    let up = "a.rs:1: `a` imports `b`, a layer above it";
    let unplaced = "`it`: the module `c` has no layer";
    assert_eq!(layer_faults(&files, &[&["a"], &["b"]]), [up, unplaced]);
    assert!(layer_faults(&files, &[&["b", "c"], &["a"]]).is_empty());
}
