use super::*;

fn stripped(text: &str) -> String {
    strip(Path::new("a.ts"), text).expect("is read").with_imports(text, &[])
}

/// But for blanks: where they stand is what [`lines_and_columns_stay`] looks at.
fn check(input: &str, expected: &str) {
    let squeeze = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let out = stripped(input);
    assert_eq!(squeeze(&out), squeeze(expected), "{input}");
    assert_eq!(out.matches('\n').count(), input.matches('\n').count(), "lines of {input}");
    strip(Path::new("a.js"), &out).unwrap_or_else(|error| panic!("{error}: {out}"));
}

#[test]
fn types_go() {
    check("let a: number = 1;", "let a = 1;");
    check(
        "function f<T>(this: X, a?: T, ...b: T[]): asserts a is T { return a as any; }",
        "function f ( a , ...b ) { return a ; }",
    );
    check("const f = async <T,>(a: T): Promise<\n T\n> => a!;", "const f = async (a ) => a ;");
    check("interface A { x: 1 }\ntype B = A;\ndeclare const c: B;\nf<B>(x satisfies B);", "; ; ; f (x );");
    check(
        "let a!: string; for (const b of <any>c) {} new Map<string, X>();",
        "let a ; for (const b of c) {} new Map ();",
    );
    check("try {} catch (e: unknown) {}", "try {} catch (e ) {}");
    check("declare global { interface Y {} }\nexport type { Q } from './q';\nexport type R = 1;", "; ; ;");
    check("function over(a: string): void;\nfunction over(a: any) {}", "; function over(a ) {}");
}

#[test]
fn classes() {
    check(
        "export abstract class A<T> extends B<T> implements C<T>, D {\n private readonly x?: number = 1;\n declare y: T;\n z!: T;\n\
         abstract m(): void;\n public static async n?(a: T): Promise<void> {}\n [key: string]: any;\n protected get o(): T { return 1 as T; }\n}",
        "export class A extends B { x = 1; ; z ; ; static async n (a ) {} ; get o() { return 1 ; } }",
    );
    check(
        "class A extends B { constructor(private a: X, readonly b = 1, c: Y) { super(a, c); this.d(); } }",
        "class A extends B { constructor( a , b = 1, c ) { super(a, c);; this.a = a; this.b = b; this.d(); } }",
    );
    check("class A { constructor(public a: X) {} }", "class A { constructor( a ) {; this.a = a;} }");
}

#[test]
fn imports_that_are_only_types_go() {
    check(
        "import type { A } from './a';\nimport { B, type C, d } from './b';\nd();",
        "; import { d } from './b'; d();",
    );
    check("import E, { F } from './e';\nlet x: F = new E();", "import E from './e'; let x = new E();");
    check("import { G } from './g';\nlet x: G;", "; let x ;");
    check("import './h';", "import './h';");
    check(
        "import * as i from './i';\nimport { j as k } from './j';\ni.x(k);\n",
        "import * as i from './i'; import { j as k } from './j'; i.x(k);",
    );
    check("import { L } from './l';\nexport { L, type M };", "import { L } from './l'; export { L };");
    let found = strip(Path::new("a.ts"), "import { G } from './g';\nlet x: G;").expect("is read");
    assert!(found.imports.is_empty());
}

#[test]
fn enums_are_written_out() {
    check(
        "export enum A { X, Y = 4, Z, }\nconst enum B { S = 's' }",
        r#"export var A = ((A) => { let $ = -1; const X = A["X"] = $ = $ + 1; if (typeof $ !== "string") A[$] = "X";
           const Y = A["Y"] = $ = 4; if (typeof $ !== "string") A[$] = "Y"; const Z = A["Z"] = $ = $ + 1;
           if (typeof $ !== "string") A[$] = "Z"; return A; })({});
           var B = ((B) => { let $ = -1; const S = B["S"] = $ = 's'; if (typeof $ !== "string") B[$] = "S"; return B; })({});"#,
    );
}

#[test]
fn lines_and_columns_stay() {
    let text = "const größe: Array<\n  'ä'\n> = f(a as B, c);\nthrow new Error('here');\n";
    let out = stripped(text);
    let at = |text: &str| text.lines().map(|line| (line.find("c)"), line.find("throw"))).collect::<Vec<_>>();
    assert_eq!(at(&out), at(text));
}

#[test]
fn what_cannot_be_is_told_with_its_place() {
    let check = |text: &str, expected: &str| {
        let error = strip(Path::new("a.ts"), text).expect_err("is refused").to_string();
        assert!(error.starts_with(expected), "{error}");
    };
    check("\n  namespace A { export const x = 1; }", "a.ts:2:3: namespaces");
    check("@d class A {}", "a.ts:1:1: decorators");
    check("let a = ;", "a.ts:1:9: ");
}
