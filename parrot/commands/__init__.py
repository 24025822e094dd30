"""The commands of `parrot` that are no stages, by what they are about."""
