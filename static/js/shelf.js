// What a browser remembers between pages, as long as it has room: nothing that people do may hang on that.

// Whether there was room.
export function keep(name, value, shelf = localStorage) {
  try {
    shelf.setItem(name, value);
    return true;
  } catch {
    return false;
  }
}
