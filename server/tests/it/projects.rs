//! Projects that people send, read by a process of its own.

use server::projects::{File, Readers};

fn readers() -> Readers {
    Readers::of(env!("CARGO_BIN_EXE_berth-server").into())
}

fn project(index: &str) -> Vec<File> {
    let config = "name = \"chat\"\nmain = \"src/index.ts\"\nkv_namespaces = []\n";
    let files = [("chat/wrangler.toml", config), ("chat/src/index.ts", index)];
    files.map(|(name, content)| (name.to_owned(), content.as_bytes().to_vec())).to_vec()
}

async fn refused(readers: &Readers, files: &[File]) -> String {
    readers.read(files).await.expect_err("it is refused").to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_is_read_or_refused_at_its_place() {
    let readers = readers();
    let reading = readers.read(&project("const a: number = 1;\nexport default { a };\n")).await.expect("it is read");
    assert_eq!((reading.deploy.name.as_str(), reading.deploy.main.as_str()), ("chat", "src/index.ts"));
    assert_eq!(reading.deploy.modules[0].text.as_deref(), Some("const a         = 1;\nexport default { a };\n"));
    assert_eq!(reading.warnings, ["kv_namespaces is not supported and left out"]);
    let wrong = refused(&readers, &project("let a: number = ;\n")).await;
    assert!(wrong.starts_with("files: src/index.ts:1:17: "), "{wrong}");
    let outside = refused(&readers, &[("../wrangler.toml".to_owned(), Vec::new())]).await;
    assert!(outside.contains("'../wrangler.toml' is no name"), "{outside}");
}

#[tokio::test(flavor = "multi_thread")]
async fn code_that_no_parser_survives_ends_its_reader_alone() {
    let readers = readers();
    let depth = 400_000;
    let deep = format!("export default {}1{};\n", "(".repeat(depth), ")".repeat(depth));
    let said = refused(&readers, &project(&deep)).await;
    assert!(said.contains("nested too deeply"), "{said}");
    readers.read(&project("export default {};\n")).await.expect("the next one is read");
}
