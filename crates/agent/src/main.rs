fn main() {
    agent::environments::sandbox::helper::run_if_asked();
}
