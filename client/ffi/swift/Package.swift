// swift-tools-version:5.7
import PackageDescription

// The library is found by the linker: `swift build -Xlinker -L/the/folder/with/it`.
let package = Package(
    name: "Strongroom",
    platforms: [.iOS(.v13), .macOS(.v10_15)],
    products: [.library(name: "Strongroom", targets: ["Strongroom"])],
    targets: [
        .systemLibrary(name: "CStrongroom"),
        .target(name: "Strongroom", dependencies: ["CStrongroom"]),
        .executableTarget(name: "recover", dependencies: ["Strongroom"]),
    ]
)
