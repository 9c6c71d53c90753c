fn main() {
    std::process::exit(linx_process::run());
}
