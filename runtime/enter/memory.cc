// What the compiler may call on its own, for programs without a libc.
extern "C" {

void* memset(void* to, int value, unsigned long size) {
  auto* bytes = static_cast<volatile char*>(to);
  for (unsigned long i = 0; i < size; ++i) bytes[i] = static_cast<char>(value);
  return to;
}

void* memcpy(void* to, const void* from, unsigned long size) {
  auto* target = static_cast<volatile char*>(to);
  const auto* source = static_cast<const char*>(from);
  for (unsigned long i = 0; i < size; ++i) target[i] = source[i];
  return to;
}

}  // extern "C"
