# What all programs say of themselves.
{ lib }:
{
  homepage = "https://git.example.org/hostenv";
  license = lib.licenses.mit;
  maintainers = [ { name = "the hostenv authors"; } ];
  platforms = lib.platforms.linux;
}
