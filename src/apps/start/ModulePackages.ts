/** Packages that provide a module of another name. */
const PACKAGES: Readonly<Record<string, string>> = {
  attr: "attrs",
  bs4: "beautifulsoup4",
  Crypto: "pycryptodome",
  cv2: "opencv-python-headless",
  dateutil: "python-dateutil",
  docx: "python-docx",
  dotenv: "python-dotenv",
  faiss: "faiss-cpu",
  fitz: "pymupdf",
  git: "gitpython",
  jwt: "pyjwt",
  magic: "python-magic",
  multipart: "python-multipart",
  OpenSSL: "pyopenssl",
  PIL: "pillow",
  pptx: "python-pptx",
  psycopg2: "psycopg2-binary",
  skimage: "scikit-image",
  sklearn: "scikit-learn",
  slugify: "python-slugify",
  yaml: "pyyaml",
};

/** The package that provides a top-level module. */
export const packageOf = (module: string): string =>
  Object.hasOwn(PACKAGES, module) ? (PACKAGES[module] ?? module) : module;

/** PyTorch and the packages that are built against one version of it. */
const TORCH_FAMILY: ReadonlySet<string> = new Set(["torch", "torchvision", "torchaudio", "triton"]);

/**
 * Whether installing the package would replace or break the PyTorch that is there: each package of the family requires
 * one version of the others.
 */
export const wouldReplaceTorch = (name: string, installed: ReadonlyMap<string, string>): boolean =>
  TORCH_FAMILY.has(name) && installed.has("torch");
