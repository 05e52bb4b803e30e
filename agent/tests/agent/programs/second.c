/* A library that somebody else preloads. */
int second;
